"""The least a Django project has; consumers of Channels ask for it."""

SECRET_KEY = "tests"
INSTALLED_APPS = ["channels"]
