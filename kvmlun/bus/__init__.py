"""The management API on D-Bus. Only here and in client.py is dbus_next imported."""
