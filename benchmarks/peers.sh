#!/bin/sh
# An environment for LLaMA-Factory, which wants older libraries than metier:
#   sh benchmarks/peers.sh .venv-peer && python benchmarks/finetune.py --peer-python .venv-peer/bin/python --json
# llamafactory without what it asks for: torchvision, gradio, av and others are never imported here. These pins are within
# the bounds of 0.9.5. It imports torchaudio at the start, which has no build for torch 2.13 and is used for sound alone:
# an empty module stands in.
set -eu
folder=${1:?usage: peers.sh FOLDER}
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 transformers==5.5.4 peft==0.18.1 trl==0.24.0 accelerate==1.11.0 \
    datasets==4.0.0 omegaconf sentencepiece pydantic requests
"$folder/bin/pip" install --quiet --no-deps llamafactory==0.9.5
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo '"""Stands in for torchaudio, which is needed for sound alone."""' > "$packages/torchaudio.py"
"$folder/bin/python" -c 'import llamafactory.train.tuner'
