#!/bin/bash
#PBS -N idrstream
#PBS -j oe
#PBS -o /data/out/logs/
#PBS -l select=1:ncpus=8:mem=15259mb:ngpus=1
#PBS -l walltime=30:00:00
#PBS -q gpu
#PBS -A lab
#PBS -l qos=long
started=$(date +%s)
set -e
module load cuda
export NAME="a b"
export OMP_NUM_THREADS=8 PYTHONSAFEPATH=1
export PYTHONPATH=/package${PYTHONPATH:+:$PYTHONPATH}
exec /opt/env/bin/python -m idrstream.stream.job_worker '/data/out put/x.json' --index "$PBS_ARRAY_INDEX" --started "$started"
