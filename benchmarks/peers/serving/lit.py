"""The model behind LitServe: python lit.py MODEL.onnx PORT [most rows per batch]."""

from __future__ import annotations

import sys

import litserve
from model import Model


class Api(litserve.LitAPI):
    """Decides for one observation, or for a batch of them."""

    def setup(self, device: str) -> None:
        self.model = Model(sys.argv[1])

    def decode_request(self, request: dict) -> list[float]:
        return request["observation"]

    def batch(self, inputs: list) -> list:
        return inputs

    def predict(self, x: list) -> list:
        return self.model.decide(x if isinstance(x[0], list) else [x])

    def unbatch(self, output: list) -> list:
        return output

    def encode_response(self, output: object) -> dict:
        return {"action": output[0] if isinstance(output, list) else output}


if __name__ == "__main__":
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    api = Api(max_batch_size=most, batch_timeout=0.001) if most > 1 else Api()
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1, track_requests=False).run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error", access_log=False
    )
