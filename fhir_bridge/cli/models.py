"""`fhir-bridge models`: which models there are, what they claim, and whether that is so."""

import sys

import click
from rich.table import Table

from fhir_bridge.cli.options import VERDICT_FAILED, configured, console, parts_of, print_json
from fhir_bridge.errors import attempt
from fhir_bridge.settings import Settings
from inference.evaluation import agrees, recompute
from inference.manifest import available, manifest_of


@click.group()
def models() -> None:
    """The installed models. They are for integration and research, not cleared for clinical use."""


@models.command("list", epilog="Example: fhir-bridge models list --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def list_(settings: Settings, as_json: bool) -> None:
    """All installed models."""
    table = Table("model", "version", "enabled", "modality", "task")
    for model in available():
        enabled = model.name in settings.models.enabled
        if as_json:
            print_json({"model": model.name, "version": model.version, "enabled": enabled, "modalities": model.scope.modalities,
                        "task": model.task, "weights": model.weights.sha256})  # fmt: skip
        table.add_row(
            model.name, model.version, "yes" if enabled else "no", " ".join(model.scope.modalities), model.task
        )
    if not as_json:
        console().print(table)


@models.command(epilog="Example: fhir-bridge models show xray_pneumonia")
@click.argument("name", metavar="MODEL")
@configured
def show(settings: Settings, name: str) -> None:
    """The model's card."""
    found = attempt(lambda: (manifest_of(name).folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    if found.value is None:
        click.echo(f"models show: {found.error.code if found.error else ''}", err=True)
        sys.exit(VERDICT_FAILED)
    click.echo(found.value)


@models.command(epilog="Example: fhir-bridge models verify")
@configured
def verify(settings: Settings) -> None:
    """Load each enabled model in the model process: digest of its weights, self-test on its probe."""
    with parts_of(settings) as parts:
        for name in parts.predictor.verify(settings.models.enabled):
            click.echo(f"ok {name}")


@models.command(epilog="Example: fhir-bridge models evaluate xray_pneumonia")
@click.argument("name", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def evaluate(settings: Settings, name: str, as_json: bool) -> None:
    """Recompute every figure that the model declares from its committed predictions. Exit code 1 if one differs."""
    tried = attempt(lambda: manifest_of(name))
    if tried.value is None:
        click.echo(f"models evaluate: {tried.error.code if tried.error else ''}", err=True)
        sys.exit(VERDICT_FAILED)
    right = True
    table = Table("split", "metric", "declared", "recomputed", "95 % interval", "n", "patients", "agrees")
    for evidence, figure in zip(tried.value.evidence, recompute(tried.value), strict=True):
        fine = agrees(evidence, figure)
        right &= fine
        if as_json:
            print_json({"split": figure.split, "metric": figure.metric, "declared": evidence.value, "recomputed": figure.value,
                        "interval": figure.interval, "n": figure.n, "groups": figure.groups, "agrees": fine})  # fmt: skip
        table.add_row(figure.split, figure.metric, str(evidence.value), str(figure.value), f"{figure.interval}", str(figure.n),
                      str(figure.groups), "yes" if fine else "NO")  # fmt: skip
    if not as_json:
        console().print(table)
    sys.exit(0 if right else VERDICT_FAILED)
