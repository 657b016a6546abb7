"""Loads a GGUF into llama.cpp's server in this process.

Creating the server opens llama-server's HTTP port: here one on loopback, chosen by the
system, behind a random key that nobody gets. It also takes SIGINT and SIGTERM over;
they are given back.
"""

import ctypes
import importlib.util
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xllamacpp
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import ModelConfig

_SIGACTION_BYTES = 256  # more than struct sigaction has anywhere


class LlamaCppOptions(BaseModel):
    """The engine's options in the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="Path of a GGUF file, or package:<name>/<file> for one that a Python package brings."
    )
    n_threads: int = Field(
        default=1,
        ge=1,
        description="Threads that compute; more than there are free cores makes everything slow.",
    )
    n_gpu_layers: int = Field(default=0, ge=-1, description="Layers kept on the GPU; -1: all.")
    n_batch: int = Field(
        default=256,
        ge=1,
        description="Prompt tokens read in one step; between steps running streams get a token.",
    )
    top_k: int = Field(default=40, ge=0, description="0: off.")
    min_p: float = Field(default=0.05, ge=0, le=1, description="0: off.")
    parallel_tool_calls: bool = Field(
        default=True,
        description="Whether an answer may call several tools where the request leaves it open; small models "
        "repeat one call.",
    )
    longest_json_value: int | None = Field(
        default=None,
        ge=1,
        description="Characters and items at most in JSON (arguments of tools, response_format) whose "
        "schema sets no bound; small models go on to the limit.",
    )
    chat_template: str = Field(default="", description="A Jinja template in place of the GGUF's own.")


def load_server(config: ModelConfig, options: LlamaCppOptions) -> xllamacpp.Server:
    """Loads the model; takes seconds.

    Raises:
        ConfigError: there is no such file, it is no GGUF, or there is no memory for it.
    """
    params = _params(config, options)
    try:
        with _signal_handlers_kept():
            return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ConfigError(
            f"llama.cpp cannot load {params.model.path}: is it a GGUF, and is there memory for "
            f"{params.n_ctx} tokens of context?"
        ) from error


def _params(config: ModelConfig, options: LlamaCppOptions) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(_model_path(config.name, options.model))
    params.n_parallel = config.slots
    params.n_ctx = config.context_length * config.slots  # a fixed share for each slot
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.n_threads
    params.n_gpu_layers = options.n_gpu_layers
    params.n_batch = params.n_ubatch = options.n_batch
    params.chat_template = options.chat_template
    params.reasoning_format = (
        xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    )  # text as the model wrote it
    params.cache_ram_mib = 0  # prompts stay in their slots; else llama-server keeps 8 GiB of them
    params.cache_idle_slots = False
    params.warmup = False
    params.verbosity = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = 1
    params.api_keys = [secrets.token_urlsafe(32)]
    params.ui = params.endpoint_slots = False
    return params


def _model_path(name: str, model: str) -> Path:
    path = Path(model)
    if model.startswith("package:"):
        package, _, file = model.removeprefix("package:").partition("/")
        found = importlib.util.find_spec(
            package
        )  # does not import it: it may want libraries that nothing here needs
        if found is None or found.origin is None:
            raise ConfigError(
                f"model {name}: options.model names Python package {package}, which is not installed: "
                "install it, or give a path"
            )
        path = Path(found.origin).parent / file
    if not path.is_file():
        raise ConfigError(f"model {name}: options.model is {model!r}, and there is no file {path}")
    return path


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Puts back what SIGINT and SIGTERM did before; Python's `signal` does not see
    handlers set in C, and works in the main thread only.
    """
    libc = ctypes.CDLL(None)
    saved = {
        number: ctypes.create_string_buffer(_SIGACTION_BYTES) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number, action in saved.items():
        libc.sigaction(int(number), None, action)
    try:
        yield
    finally:
        for number, action in saved.items():
            libc.sigaction(int(number), action, None)
