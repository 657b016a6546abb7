"""What the inference service needs to know."""

from pydantic import Field

from services.common.process.egress import EgressAllowed
from services.common.process.settings import CommonSettings


class Settings(CommonSettings):
    """Settings of inference, read from `TOCSIN_*`."""

    ray_address: str = Field("", description="A Ray cluster's address; empty starts Ray on this machine.")
    ray_temp_dir: str = Field(
        "", description="Folder of the Ray that is started on this machine; empty leaves it to Ray."
    )
    ray_cpus: int = Field(
        0,
        ge=0,
        description="CPUs that Ray may plan with on this machine; 0 means as many as the models and "
        "dispatchers ask for.",
    )
    egress_allowed: EgressAllowed = ""
    dispatchers: int = Field(2, ge=1, description="Dispatcher processes: one serves, the others stand by.")
    replica_silence_s: float = Field(
        1.0, gt=0, description="A replica without a heartbeat for so long counts as dead."
    )
