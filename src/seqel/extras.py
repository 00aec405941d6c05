"""Optional libraries, imported only when needed, with a message that says how to install them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from seqel.errors import MissingExtraError

__all__ = ["require"]


# module: (the extra that installs it, what it is needed for)
KNOWN = {
    "polars": ("data", "reading recorded data"),
    "minari": ("data", "reading recorded data"),
    "h5py": ("data", "reading recorded data"),
    "onnx": ("serve", "export"),
    "onnxscript": ("serve", "export"),
    "onnxruntime": ("serve", "an exported agent"),
    "tokenizers": ("text", "text.encoder = 'tokens'"),
    "transformers": ("text", "a pretrained model"),
    "huggingface_hub": ("text", "a pretrained model"),
    "peft": ("text", "text.tuning = 'lora' or 'prefix'"),
    "wandb": ("wandb", "--wandb"),
    "faiss": ("ranking", "approximate search"),
    "prometheus_client": ("serve", "a service's metrics"),
    "river": ("monitor", "the detection of drift"),
    "envpool": ("pool", "vectorization = 'envpool'"),
}


def require(module: str, extra: str | None = None, purpose: str | None = None) -> Any:
    """Import `module`, or raise an error that says which of Seqel's extras installs it.

    `purpose` begins the message: "export needs onnx ...". Both are known for the modules in `KNOWN`.

    Raises:
        MissingExtraError: it is not installed, or it is installed but cannot be imported.
    """
    known = KNOWN.get(module, ("all", "this"))
    extra, purpose = extra or known[0], purpose or known[1]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise MissingExtraError(
            f'{purpose} needs {missing}, which is not installed: pip install "seqel[{extra}]"'
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {module}, which is installed but cannot be imported ({error}): install it again with "
            f'pip install --force-reinstall "seqel[{extra}]"'
        ) from error
