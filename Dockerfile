# The server in a container: `docker build -t charrnn .`, then see "With Docker" in README.md.
#
#   --build-arg BASE=…                          another Debian 12 (bookworm) to build on
#   --build-arg TENSORFLOW='tensorflow[and-cuda]'   with what NVIDIA's processors need: nobody has tried that yet; its
#                                               further packages are not in the lock, so their hashes are not checked
#   --build-arg SOURCE_DATE_EPOCH=0 --output type=image,rewrite-timestamp=true   the same layers at every build (BuildKit;
#                                               with buildah --timestamp 0), as long as Debian's packages are the same
ARG BASE=debian:bookworm-slim

# --- what the server needs, put together ------------------------------------------------------------------------------
FROM ${BASE} AS builder
ENV DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates python3-pip python3-venv
RUN python3 -m venv --without-pip /opt/charrnn

# The lock comes before the source: a change of ours does not install TensorFlow again.
COPY requirements-server.lock /src/
RUN python3 -m pip --python /opt/charrnn/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes -r /src/requirements-server.lock
ARG TENSORFLOW=tensorflow
RUN [ "$TENSORFLOW" = tensorflow ] || \
    python3 -m pip --python /opt/charrnn/bin/python install --no-cache-dir --no-compile "$TENSORFLOW"
# Compiled by content, not by time, so that two builds give the same files. Some packages bring files for other Pythons,
# which this one cannot compile and never reads: hence `|| true`.
RUN /opt/charrnn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/charrnn/lib || true

COPY pyproject.toml README.md LICENSE /src/
COPY notebooks/dashboard.ipynb /src/notebooks/
COPY charrnn /src/charrnn
COPY server_ext /src/server_ext
RUN python3 -m pip --python /opt/charrnn/bin/python install --no-cache-dir --no-compile --no-deps \
        --no-build-isolation /src \
    && python3 -m pip --python /opt/charrnn/bin/python uninstall --yes --quiet hatchling editables \
    && /opt/charrnn/bin/python -m compileall -q --invalidation-mode unchecked-hash \
        /opt/charrnn/lib/python3.11/site-packages/charrnn /opt/charrnn/lib/python3.11/site-packages/charrnn_server

# --- what runs --------------------------------------------------------------------------------------------------------
FROM ${BASE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/apt /var/log/*.log \
    && groupadd --gid 1000 charrnn && useradd --uid 1000 --gid charrnn --create-home charrnn \
    && install -d -o charrnn -g charrnn -m 700 /data
COPY --from=builder /opt/charrnn /opt/charrnn

ENV PATH=/opt/charrnn/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/charrnn \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    CHARRNN_DATA_FOLDER=/data
# CHARRNN_PUBLIC=1 makes it a server for visitors; without, it asks for the token that it prints.
USER 1000:1000
WORKDIR /home/charrnn
# models, texts, the database unless it is another one, and the secret behind visitors' cookies
VOLUME /data
EXPOSE 8888
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8888/charrnn/api/v1/live', timeout=4)"]
# tini passes on the signal that ends the container and buries workers whose supervisor is gone.
ENTRYPOINT ["tini", "--"]
CMD ["jupyter-charrnn", "--no-browser", "--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888", "--ServerApp.port_retries=0"]
