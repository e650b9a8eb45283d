# Kakehashi in a container, from the archive that `npm run package` has built into dist/:
#
#   npm run package && docker build -t kakehashi .
#
# The archive is complete, so nothing is fetched while the image is built. installers/docker/compose.yaml runs it.
FROM debian:12-slim

# A fixed number, so that the owner of a volume is the same on every host.
RUN groupadd --gid 10001 kakehashi \
 && useradd --uid 10001 --gid kakehashi --home-dir /var/lib/kakehashi --no-create-home \
      --shell /usr/sbin/nologin kakehashi \
 && install -d -m 0700 -o kakehashi -g kakehashi /var/lib/kakehashi /etc/kakehashi

ADD dist/kakehashi-*-linux-x64.tar.gz /opt/
# A link and not a move, which would put the same files into a second layer.
RUN ln -s /opt/kakehashi-*-linux-x64 /opt/kakehashi \
 && ln -s /opt/kakehashi/bin/kakehashi /opt/kakehashi/bin/kakehashi-producer /usr/bin/

USER 10001:10001
VOLUME ["/etc/kakehashi", "/var/lib/kakehashi"]

# Healthy is what /healthz calls so; it needs `health: { metrics: 127.0.0.1:9420 }`, which is the default.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["/usr/bin/env", "LD_LIBRARY_PATH=/opt/kakehashi/runtime", "/opt/kakehashi/runtime/node", "-e", \
       "fetch('http://127.0.0.1:9420/healthz').then(({ ok }) => { process.exitCode = ok ? 0 : 1 }, () => { process.exitCode = 1 })"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/kakehashi"]
CMD ["run", "--config", "/etc/kakehashi/connector.yaml"]
