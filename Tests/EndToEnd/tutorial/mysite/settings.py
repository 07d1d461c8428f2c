"""The chat of the Channels tutorial, with Fanfare as its layer: `CHANNEL_LAYERS` is the one line that says so."""
SECRET_KEY = "a test's, and no secret"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"
# Sessions in cookies, so that the project needs no database.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
INSTALLED_APPS = [
    "daphne",
    "chat",
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"

CHANNEL_LAYERS = {"default": {"BACKEND": "fanfare_channels.FanfareChannelLayer"}}
