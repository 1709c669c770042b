"""What more than one subcommand says of an option."""

# Written out, as asking for the registered names would import torch for every `--help`.
RUNTIME_HELP = (
    "what latency is measured in: cuda-graph, cuda-graph-fp16, onnxruntime, onnxruntime-cuda, openvino, openvino-bf16, "
    "tensorrt, tensorrt-fp16, torch, torch-bf16, torch-compile, torch-fp16 (docs/latency.md says which is for what); "
    "default: onnxruntime on a CPU, torch elsewhere"
)
