"""A DICOM node: images come in by network or folder, complete series are mapped, results go back, unattended."""

from ctp_torch.archive.queue import Queue as Queue
from ctp_torch.archive.settings import NodeSettings as NodeSettings
from ctp_torch.archive.settings_file import read_settings as read_settings
