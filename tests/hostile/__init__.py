"""Bad luck and bad will: processes killed at every step, full disks, two writers."""
