"""Time and memory of rendering one digital patient, 6 slices and 60 frames, by matrix size and number of threads.

``python benchmarks/phantom.py`` renders each in a process of its own, the brain template already read. Processor
seconds stand beside wall seconds: on a busy machine only the former say what the code costs.
"""

import argparse
import resource
import time

import torch
from common import in_child, write  # the folder of this file is on the path


def render(size, threads):
    """Wall and processor seconds of one patient, and the peak memory of the whole process [GB]."""
    torch.set_num_threads(threads)
    from ctp_torch.phantom import render_patient
    from ctp_torch.phantom.template import load_template

    load_template()
    wall, processor = time.perf_counter(), time.process_time()
    render_patient(7, 0, size=size)
    return {
        "wall_s": round(time.perf_counter() - wall, 2),
        "processor_s": round(time.process_time() - processor, 2),
        "peak_process_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="128,256,512")
    parser.add_argument("--threads", default="1,2")
    asked = parser.parse_args()
    rows = []
    for size in map(int, asked.sizes.split(",")):
        for threads in map(int, asked.threads.split(",")):
            answer = in_child(render, size, threads)
            row = {"size": size, "threads": threads, **(answer.get("result") or answer)}
            rows.append(row)
            print(row)
    write("phantom", rows)


if __name__ == "__main__":
    main()
