#!/bin/bash
#SBATCH --job-name=idrstream
#SBATCH --output=/data/out/logs/slurm-%A_%a.out
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=15259M
#SBATCH --time=1-06:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --gpus-per-node=1
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --qos=long
started=$(date +%s)
set -e
module load cuda
export NAME="a b"
export OMP_NUM_THREADS=8 PYTHONSAFEPATH=1
export PYTHONPATH=/package${PYTHONPATH:+:$PYTHONPATH}
exec /opt/env/bin/python -m idrstream.stream.job_worker '/data/out put/x.json' --index "$SLURM_ARRAY_TASK_ID" --started "$started"
