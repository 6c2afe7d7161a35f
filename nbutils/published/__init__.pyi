from .files import BASE_URL as BASE_URL, download_published as download_published
from .report import PublishedReport as PublishedReport, replay_published as replay_published
