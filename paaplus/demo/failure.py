"""What ends a demo early."""

from paaplus.errors import PaaplusError


class DemoFailed(PaaplusError):
    """The demo could not go on, or what it saw is not what the platform promises."""

    code = "demo_failed"
