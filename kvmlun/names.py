"""Names on D-Bus, shared by service and client. They are part of the interface."""

BUS_NAME = "io.github.kvmlun"
ROOT = "/io/github/kvmlun"
MANAGER = f"{BUS_NAME}.Manager1"
LUN = f"{BUS_NAME}.Lun1"
SESSION = f"{BUS_NAME}.Session1"
ERROR = f"{BUS_NAME}.Error."
DBUS = "org.freedesktop.DBus"  # the bus itself
OBJECT_MANAGER = f"{DBUS}.ObjectManager"
LOG_CONTROL = "org.freedesktop.LogControl1"
LOG_CONTROL_PATH = "/org/freedesktop/LogControl1"
PROPERTIES = f"{DBUS}.Properties"

# As in org.freedesktop.LogControl1(5).
LOG_LEVELS = ("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
