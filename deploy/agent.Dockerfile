# An image with an agent in it, so that a version of the image is a version of the agent:
#
#   docker build -f deploy/agent.Dockerfile --build-arg AGENT=agent.onnx -t registry.example/seqel-agent:1 .
#
# AGENT is the file agent.onnx, or a folder that holds it and reference.json, with which the service detects drift.
ARG SEQEL=seqel:onnx
FROM ${SEQEL}
ARG AGENT
COPY ${AGENT} /models/
CMD ["/models/agent.onnx", "--host", "0.0.0.0"]
