#!/bin/sh
# Map a cohort in parts: cohort_parallel.sh ARCHIVE OUT PARTS [more options of ctp-torch cohort run]
where=$1 out=$2 parts=$3
shift 3
# exit code 8: some scans failed, which the table tells
seq "$parts" | parallel -j "$parts" \
  "ctp-torch cohort run '$where' -o '$out' --shard {}/$parts --workers 1 $* || [ \$? -eq 8 ]" &&
  { ctp-torch cohort table "$out" || [ $? -eq 8 ]; }
