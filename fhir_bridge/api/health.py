"""Is the process alive, can it do its work, and which dependency is in trouble."""

from collections.abc import Callable, Collection, Mapping

from flask import Blueprint, Response, jsonify

from fhir_bridge.errors import BridgeError

Check = Callable[[], tuple[bool, str]]  # (fine?, a few words free of patient data); may raise BridgeError


def health(checks: Mapping[str, Check], required: Collection[str] = ("store",)) -> Blueprint:
    """`/health/live` and `/health/ready`.

    Ready answers 503 only where a required dependency is in trouble. A FHIR server or PACS that is away makes it `degraded` with
    200: orders are still taken and kept, and a load balancer that took us out then would lose them.
    """
    blueprint = Blueprint("health", __name__, url_prefix="/health")

    @blueprint.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @blueprint.get("/ready")
    def ready() -> tuple[Response, int]:
        results = {name: _run(check) for name, check in checks.items()}
        failed = {name for name, (fine, _) in results.items() if not fine}
        status = "not-ready" if failed & set(required) else "degraded" if failed else "ready"
        answer = jsonify(
            status=status,
            checks={name: {"ok": fine, "detail": detail} for name, (fine, detail) in results.items()},
        )
        return answer, 503 if status == "not-ready" else 200

    return blueprint


def _run(check: Check) -> tuple[bool, str]:
    try:
        return check()
    except BridgeError as error:
        return False, error.code
