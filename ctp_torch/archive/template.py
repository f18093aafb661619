"""The settings that a node begins with: every key with its default, and a word about it."""

__all__ = ["TEMPLATE"]

TEMPLATE = """\
# Settings of a ctp-torch node. Everything that begins with # is the default, or an example.
# ctp-torch node check FILE tries every connection; ctp-torch node run FILE runs it.
# For research only: not a medical device.

[node]
folder = "node"              # queue, images and results; on a local disk, readable for this user alone
# workers = 1                # cases at once
# threads = 0                # of each; the cores divided among the workers when 0
# attempts = 2               # a case whose worker died so often is parked
# time_limit_s = 3600        # of one case
# memory_gb = 0              # most that one worker may take; no limit when 0
# nice = 10                  # how far workers stand back behind receiving and sending; 0 not at all
# quiet_s = 5                # a study is looked at when nothing came for so long
# settle_s = 30              # then a series is whole whose headers don't tell how many images there are
# deadline_s = 900           # an incomplete series waits for more so long; then it is parked, with a page that says so
# keep_days = 7              # images and results of what is done are deleted after so many days
# keep_free_gb = 2           # nothing more is accepted when the disk has less left
# max_stored_gb = 0          # nothing more is accepted when images take more; no limit when 0
# failure_page = true        # send a page that says why there are no maps
# report = true              # make the report that the status page links to
# log = ""                   # file of the log; the error stream when empty
# audit = ""                 # file that notes who sent and got which study (with its UID); none when empty

[maps]                       # settings of ctp-torch maps, by the names of ctp_torch.MapSettings
# method = "csvd"
# drop_incomplete = false
# duplicates = "refuse"
# strict = false
# device = "cpu"

[dicom]                      # the door for C-STORE
aet = "CTPTORCH"
host = "127.0.0.1"           # nothing beyond this machine unless told: then list who may send
port = 11112                 # 0 for no door
# max_associations = 20
# max_pdu = 131072
# max_object_mb = 512
# timeout_s = 30
# certificate = "node.pem"   # with it the door speaks TLS alone
# key = "node.key"
# authorities = "peers.pem"  # peers must show a certificate of theirs

# [[dicom.peer]]             # who may send; anybody on this machine when there are none
# aet = "CT1"
# address = "10.1.2.3"       # any when left out
# port = 104                 # where it takes the answer to a storage commitment

# [[watch]]                  # places to look for images
# kind = "orthanc"           # orthanc, dicomweb or folder
# url = "http://127.0.0.1:8042"
# every_s = 2
# user = "ctp"
# password_env = "ORTHANC_PASSWORD"   # or password_file; never the word itself

# [[watch]]
# kind = "dicomweb"
# url = "https://pacs.example/dicom-web"
# days = 2                   # studies of so many days are asked for; 0 for all
# authorities = "hospital.pem"

# [[watch]]
# kind = "folder"
# folder = "/data/in"
# take = "copy"              # or move

# [[send]]                   # where results go
# kind = "dicom"             # dicom, stow, orthanc or folder
# name = "pacs"
# aet = "PACS"
# host = "10.1.2.4"
# port = 104
# formats = ["ct", "rgb", "seg", "sr"]   # pm and, for a folder, nifti too
# commitment = false         # count a result as stored only when the archive said so
# timeout_s = 60

# [[send]]
# kind = "orthanc"
# url = "http://127.0.0.1:8042"

# [[send]]
# kind = "stow"
# url = "https://pacs.example/dicom-web"

# [[send]]
# kind = "folder"
# folder = "/data/out"
# formats = ["nifti", "rgb"]

[page]                       # status, /health and /metrics
host = "127.0.0.1"           # beyond this machine only with token and certificate
port = 11180                 # 0 for no page
# token_file = "token"       # or token_env
# certificate = "node.pem"
# key = "node.key"
"""
