"""The command line's tree. Verbs are imported when called: `jobs list` must not wait for what `demo` needs."""

import importlib
import os

import click

VERBS = {
    "analyze": ("fhir_bridge.cli.analyze", "analyze"),
    "check": ("fhir_bridge.cli.setup", "check"),
    "convert": ("fhir_bridge.cli.convert", "convert"),
    "demo": ("fhir_bridge.cli.demo", "demo"),
    "init": ("fhir_bridge.cli.setup", "init"),
    "jobs": ("fhir_bridge.cli.jobs", "jobs"),
    "keys": ("fhir_bridge.cli.keys", "keys"),
    "listen": ("fhir_bridge.cli.listen", "listen"),
    "messages": ("fhir_bridge.cli.messages", "messages"),
    "models": ("fhir_bridge.cli.models", "models"),
    "notifications": ("fhir_bridge.cli.notifications", "notifications"),
    "send": ("fhir_bridge.cli.send", "send"),
    "serve": ("fhir_bridge.cli.serve", "serve"),
    "study": ("fhir_bridge.cli.study", "study"),
    "subscribe": ("fhir_bridge.cli.subscribe", "subscribe"),
    "work": ("fhir_bridge.cli.serve", "work"),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Verbs)
@click.version_option(package_name="fhir-bridge")
def main() -> None:
    """An HL7 FHIR integration server for imaging AI: order in, images found, de-identified, analysed, result back.

    Exit codes: 0 ok, 1 verdict failed, 2 something must be set up.
    """
    os.umask(0o077)  # whatever is made from here on is its owner's alone
