"""The installation that runs in this home, for commands typed beside it: they need its
addresses and secrets, and nobody should have to export them.
"""

from collections.abc import Mapping

from services.embedded.home import Home
from services.embedded.process_table import Addresses, Given, service_environment


def environment_of_running_installation(
    environ: Mapping[str, str], home: Home | None = None
) -> dict[str, str]:
    """What `tocsin up` gives its services, where it runs in this home; empty where it
    does not. What the user has set otherwise stays as it is.
    """
    home = home or Home()
    state = home.read_state()
    if not home.is_locked() or "ports" not in state or "ours" not in state:
        return {}
    addresses = Addresses(state["ports"], Given.read(environ, state["ours"]))
    return service_environment(home, addresses, home.secrets().get("store_passwords", {}), environ)
