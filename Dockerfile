# The image of `tideline`: every command of it, a worker's and the API's among them. How to use it: docs/deploy.md.
FROM python:3.13.16-slim-trixie AS build

WORKDIR /src
RUN python -m venv --without-pip /opt/tideline \
    && python -m venv --without-pip /opt/hatch
COPY requirements/image.txt requirements/build.txt requirements/
# Wheels only, so nothing that comes from an index runs while it is installed.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/tideline/bin/python install \
        --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/image.txt \
    && python -m pip --python /opt/hatch/bin/python install \
        --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY models models
COPY streams streams
# Other people's tests are an eighth of the image.
RUN /opt/hatch/bin/python -m hatchling build -t wheel \
    && python -m pip --python /opt/tideline/bin/python install \
        --disable-pip-version-check --no-cache-dir --no-index --no-deps dist/*.whl \
    && find /opt/tideline/lib -type d -name tests -prune -exec rm -rf {} +


FROM python:3.13.16-slim-trixie

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tideline" \
      org.opencontainers.image.description="Live likelihood scores from an event stream" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="python:3.13.16-slim-trixie"

# numba keeps its code for one model of processor. `generic` is found again on every processor of the platform; with
# the one that builds the image, each start on another one would compile for a minute.
ENV PATH="/opt/tideline/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=generic \
    TIDELINE_DATA_DIR=/var/lib/tideline \
    TIDELINE_WEB_HOST=0.0.0.0 \
    TIDELINE_API_HOST=0.0.0.0

COPY --from=build /opt/tideline /opt/tideline
# The program is root's; the only places in which its user can write are the compiled engine's cache and the home.
RUN groupadd --gid 10001 tideline \
    && useradd --uid 10001 --gid tideline --no-log-init --create-home --home-dir /var/lib/tideline \
        --shell /usr/sbin/nologin tideline \
    && install -d -o tideline -g tideline /opt/tideline/lib/python3.13/site-packages/models/__pycache__/numba

WORKDIR /var/lib/tideline
USER 10001:10001
RUN python -m streams.runtime.precompile

# The web view of a worker, and the API. The check is a worker's: docker-compose.yml has another one for the API, and
# turns it off for commands that answer nobody.
EXPOSE 6066 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 6066, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["tideline"]
CMD ["--help"]
