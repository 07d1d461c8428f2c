# Fanfare's programs, in two stages. UNTESTED: no container engine runs where this was written; what each line runs was
# run by hand on Debian 12.
#
#   docker build -t fanfare .
#   docker network create fanfare
#   docker run --detach --network fanfare --name broker --volume fanfare:/var/lib/fanfare fanfare
#   docker run --detach --network fanfare --publish 8000:8000 \
#       --env FANFARE_BROKER=tcp://broker:7411 --no-healthcheck \
#       fanfare fanfare-worker --listen 0.0.0.0:8000
FROM swift:6.3-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends libmsgpack-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# The dependencies alone: they change seldom, and what does not change is not fetched again.
COPY Package.swift ./
RUN swift package resolve
COPY Sources Sources
COPY Tests Tests
RUN for program in fanfare-broker fanfare-worker fanfare; do \
        swift build --configuration release --static-swift-stdlib --product "$program" \
        && strip --strip-all -o "/usr/local/bin/$program" ".build/release/$program" || exit 1; \
    done

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends ca-certificates libmsgpackc2 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 990 --user-group --home-dir /nonexistent --no-create-home fanfare \
    && install -d -o fanfare -g fanfare /run/fanfare /var/lib/fanfare
COPY --from=build /usr/local/bin/fanfare-broker /usr/local/bin/fanfare-worker /usr/local/bin/fanfare /usr/local/bin/
USER 990:990
ENV FANFARE_BROKER=unix:/run/fanfare/broker.sock
VOLUME /var/lib/fanfare
EXPOSE 7411 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["fanfare", "ping", "--count", "1"]
# Inside a network of its own nobody else listens to; SECURITY.md says what to do about any other.
CMD ["fanfare-broker", "--listen", "unix:/run/fanfare/broker.sock", "--listen", "tcp://0.0.0.0:7411", "--allow-remote-tcp", "--state", "/var/lib/fanfare/broker.state"]
