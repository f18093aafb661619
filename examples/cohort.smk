# Map a cohort in parts: snakemake -s cohort.smk --cores 4 --config where=ARCHIVE out=OUT parts=4
PARTS = int(config.get("parts", 4))


rule table:
    input:
        expand(config["out"] + "/part{i}.done", i=range(1, PARTS + 1)),
    shell:
        "ctp-torch cohort table {config[out]} || [ $? -eq 8 ]"


rule part:
    output:
        touch(config["out"] + "/part{i}.done"),
    shell:
        "ctp-torch cohort run {config[where]} -o {config[out]} --shard {wildcards.i}/{PARTS} --workers 1 || [ $? -eq 8 ]"
