"""Names on D-Bus, shared by service and client. They are part of the interface."""

BUS_NAME = "io.github.kvmlun"
ROOT = "/io/github/kvmlun"
MANAGER = f"{BUS_NAME}.Manager1"
LUN = f"{BUS_NAME}.Lun1"
SESSION = f"{BUS_NAME}.Session1"
ERROR = f"{BUS_NAME}.Error."
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
