# The bot alone: the sandbox and the tests stay outside. Any glibc Python 3.11 to 3.13 is a base
# (musl is not: the bundled ffmpeg has no build for it).
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
COPY requirements.txt /tmp/
RUN python -m venv /opt/dailies \
 && /opt/dailies/bin/pip install --no-cache-dir --no-compile -r /tmp/requirements.txt \
 && rm -rf /opt/dailies/lib/python3*/site-packages/pip*

FROM ${BASE}
RUN useradd --system --uid 10001 --create-home --home-dir /home/dailies dailies \
 && install -d -o dailies -g dailies /app/data
WORKDIR /app
COPY --from=build /opt/dailies /opt/dailies
COPY bot.py LICENSE ./
COPY cogs cogs
COPY core core
COPY media media
COPY providers providers
COPY storage storage
COPY web web
USER dailies
ENV PATH=/opt/dailies/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/app/data \
    HTTP_BIND=127.0.0.1:8080
VOLUME /app/data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["python", "bot.py"]
