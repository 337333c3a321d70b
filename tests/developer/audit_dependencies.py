"""Known vulnerabilities of the pinned dependencies: `make audit`; skips, aloud, where no database is reachable.

Not part of `make check`: what it says depends on the day and on the network.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[2] / "constraints.txt"
LOCAL = ("torch", "torchvision")  # pinned with a local version, +cpu, that no database knows
PROBE = ["pip==23.0"]  # known to be vulnerable (CVE-2023-5752): a database that does not say so knows nothing
COMMAND = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]


def audit(pins: list[str]) -> list[dict[str, Any]] | None:
    """What is known of each package; None when there is nobody to ask."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [*COMMAND, "--timeout", "15", "--format", "json", "--requirement", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return packages


def main() -> int:
    probed = audit(PROBE)
    if not probed or not probed[0].get("vulns"):
        print("audit SKIPPED: no database of vulnerabilities is reachable from here")
        return 0
    pins = [line.strip() for line in PINS.read_text().splitlines() if "==" in line and not line.startswith("#")]
    packages = audit([pin for pin in pins if pin.partition("==")[0] not in LOCAL]) or []
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    print(f"{len(packages) - len(unknown)} of {len(pins)} pinned packages audited, {len(vulnerable)} vulnerable")
    print(f"not audited: {', '.join([*LOCAL, *unknown])}")
    return 1 if vulnerable or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
