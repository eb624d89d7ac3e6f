"""`fhir-bridge subscribe`: tell the FHIR server to notify us."""

import sys
import time

import click

from fhir_bridge.adapters.fhir_subscription import Hooks, SubscriptionState, check_subscriptions, ensure_subscriptions
from fhir_bridge.cli.options import SET_UP, VERDICT_FAILED, configured, parts_of, print_json
from fhir_bridge.settings import Settings


@click.command(epilog="Example: fhir-bridge subscribe --data-dir data --set fhir.base_url=http://localhost:8080/fhir")
@click.option("--check", "only_check", is_flag=True, help="Change nothing, say how they stand.")
@click.option(
    "--wait", "wait_seconds", default=20.0, show_default=True, help="Seconds until the server has activated them."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@configured
def subscribe(settings: Settings, only_check: bool, wait_seconds: float, as_json: bool) -> None:
    """Create or repair our Subscriptions on fhir.base_url. They call http.public_url with our bearer token.

    Exit code 1: one is not active.
    """
    with parts_of(settings) as parts:
        if parts.fhir is None:
            click.echo("subscribe: set fhir.base_url", err=True)
            sys.exit(SET_UP)
        public_url = settings.http.public_url or f"http://{settings.http.host}:{settings.http.port}"
        hooks = Hooks(public_url, parts.hook_token)
        made = check_subscriptions(parts.fhir, hooks) if only_check else ensure_subscriptions(parts.fhir, hooks)
        states, deadline = made, time.monotonic() + wait_seconds
        while not only_check and any(s.status == "requested" for s in states) and time.monotonic() < deadline:
            time.sleep(0.2)
            states = check_subscriptions(parts.fhir, hooks)
    actions = {state.name: state.action for state in made}
    for state in states:
        _print(state, actions[state.name], as_json)
    sys.exit(0 if all(state.good for state in states) else VERDICT_FAILED)


def _print(state: SubscriptionState, action: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": state.name, "status": state.status, "reference": state.reference, "differs": state.differs,
                    "doubled": state.doubled, "action": action})  # fmt: skip
        return
    wrong = f" differs in {', '.join(state.differs)}" if state.differs else ""
    wrong += f", {state.doubled} doubles" if state.doubled else ""
    click.echo(f"{state.name}: {state.status} {state.reference} ({action}){wrong}")
