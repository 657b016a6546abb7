"""The installation that runs in this home, for commands typed beside it: they need its
addresses, settings and secrets, and nobody should have to export them.
"""

from collections.abc import Mapping

from services.common.process.secret_files import SUFFIX
from services.embedded.installation.home import Home


def environment_of_running_installation(
    environ: Mapping[str, str], home: Home | None = None
) -> dict[str, str]:
    """What `tocsin up` gave its services, where it runs in this home; empty where it
    does not.

    What the user has set otherwise stays as it is; the addresses that connection.env
    exports are not otherwise.
    """
    home = home or Home()
    state = home.read_state()
    if not home.is_locked() or "ours" not in state:
        return {}
    ours = set(state["ours"].values())
    return {
        name: value
        for name, value in home.read_environment().items()
        if (environ.get(name) in ours or not environ.get(name)) and not environ.get(name + SUFFIX)
    }
