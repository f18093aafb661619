"""What a study is made of: patients, sources, sizes, plan."""
