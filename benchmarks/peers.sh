#!/bin/sh
# An environment for LLaMA-Factory, which wants older libraries than metier:
#   sh benchmarks/peers.sh .venv-peer && python benchmarks/finetune.py --peer-python .venv-peer/bin/python --json
# llamafactory and torchaudio without what they ask for: torchvision, gradio, av and others are never imported here.
# These pins follow from the source of 0.9.5 (its own bounds; transformers 5.6.0 is excluded by its next version); this
# script has not been run yet. torchaudio 2.11.0 beside torch 2.13.0 is the doubtful one: it is imported at the start.
set -eu
folder=${1:?usage: peers.sh FOLDER}
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 transformers==5.5.4 peft==0.18.1 trl==0.24.0 accelerate==1.11.0 \
    datasets==4.0.0 omegaconf sentencepiece pydantic requests
"$folder/bin/pip" install --quiet --no-deps llamafactory==0.9.5 torchaudio==2.11.0
"$folder/bin/python" -c 'import llamafactory.train.tuner'
