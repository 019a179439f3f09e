#!/bin/bash
#BSUB -o /data/out/logs/lsf-%J_%I.out
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -R "rusage[mem=15259MB]"
#BSUB -M 15259MB
#BSUB -W 1800
#BSUB -gpu "num=1"
#BSUB -q gpu
#BSUB -P lab
#BSUB -sla long
started=$(date +%s)
set -e
module load cuda
export NAME="a b"
export OMP_NUM_THREADS=8 PYTHONSAFEPATH=1
export PYTHONPATH=/package${PYTHONPATH:+:$PYTHONPATH}
exec /opt/env/bin/python -m idrstream.stream.job_worker '/data/out put/x.json' --index "$LSB_JOBINDEX" --started "$started"
