"""The error of a demo that cannot go on."""

from paaplus.errors import PaaplusError


class DemoFailed(PaaplusError):
    """A step of the demo failed, or a promise of the platform was broken."""

    code = "demo_failed"
