/**
 * The MLLP listener: accepts peers that may connect, as many as may, over TCP or TLS, and gives each a `Connection`.
 *
 * What a listener can hold in memory is `maxConnections` × (`maxMessage` + `inFlightBytesMax`), reached only when
 * every peer is in the middle of a message of the greatest size.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { BlockList, connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { formatHostPort, type HostPort } from '../../base/options.ts';
import { ConnectorError, type ErrorCode, reasonOf } from '../../model/errors.ts';
import type { Probe, Source, SourceHost } from '../../model/ports.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { Receiver, type ReceiverOptions } from './receive.ts';

export interface TlsListenerOptions {
  readonly cert: string;
  readonly key: string;
  /** Whoever issues the peers' certificates; without it no client certificate is asked for. */
  readonly ca?: string | undefined;
  readonly requireClientCert: boolean;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface ListenerOptions extends ReceiverOptions, ConnectionOptions {
  readonly listen: HostPort;
  /** Addresses and networks peers may connect from. */
  readonly allow: readonly string[];
  readonly connectionsMax: number;
  readonly tls?: TlsListenerOptions | undefined;
}

/** How often the clocks of the connections are looked at; their limits are kept to this precision. */
const checkEveryMs = 1_000;

/** Ending in good order within the 10 s that a stopping agent has. */
export const stopMsMax = 8_000;

/** A handshake on a hospital's network takes milliseconds; one that never ends must not keep a place. */
const handshakeMsMax = 10_000;

/** Probes of a dead peer by the kernel begin after this silence; common firewalls forget a connection after 60 s. */
const keepAliveMs = 45_000;

export class Hl7v2Source implements Source {
  readonly #options: ListenerOptions;
  readonly #host: SourceHost;
  readonly #receiver: Receiver;
  readonly #allowed: BlockList;
  readonly #connections = new Set<Connection>();
  /** Sockets in the TLS handshake, not a `Connection` yet, by the peer's address and port. */
  readonly #handshakes = new Map<string, Socket>();
  #server: Server | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: ListenerOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    this.#receiver = new Receiver(options, host);
    this.#allowed = listOf(options.allow);
  }

  /** @throws ConnectorError HL7_LISTEN_FAILED, FILE_UNREADABLE, HL7_TLS_UNUSABLE */
  async listen(): Promise<{ readonly port: number }> {
    const { listen, tls, connectionsMax } = this.#options;
    const secure = tls && (await this.#tlsServer(tls));
    const server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs },
      (socket) => this.#arrived(socket, secure),
    );
    server.maxConnections = connectionsMax;
    server.on('drop', () => this.#refused('HL7_TOO_MANY_CONNECTIONS', 'too-many'));
    const port = await bind(server, listen);
    server.on('error', (error) => this.#failed(error));
    this.#server = server;
    this.#stopping = undefined;
    void this.#watch(server);
    this.#host.report({ name: 'source.listening', source: this.#host.name, numbers: { port } });
    return { port };
  }

  /** Running: is it reached at its own address? Idle: could that address be listened on? */
  async probe(): Promise<Probe> {
    const { listen } = this.#options;
    try {
      if (!this.#server) {
        const server = createServer();
        await bind(server, listen);
        server.close();
        return { ok: true, peer: formatHostPort(listen) };
      }
      const reached = { host: reachable(listen.host), port: portOf(this.#server) };
      await touch(reached);
      return { ok: true, peer: formatHostPort(reached) };
    } catch (error) {
      if (error instanceof ConnectorError) return { ok: false, error };
      throw error;
    }
  }

  /** Resolves when no connection is left: at the latest after `stopMsMax`, with what was still unanswered cut off. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    const done = new AbortController();
    for (const socket of this.#handshakes.values()) socket.destroy();
    for (const connection of this.#connections) connection.finish('stopped');
    const cut = async () => {
      await this.#host.clock.sleep(stopMsMax, done.signal);
      for (const connection of this.#connections) connection.destroy();
    };
    void cut();
    await closed;
    done.abort();
    this.#server = undefined;
  }

  #arrived(socket: Socket, secure: TlsServer | undefined): void {
    // Errors before a Connection listens: a peer that resets at once must not end the process.
    socket.on('error', () => socket.destroy());
    const address = socket.remoteAddress ?? '';
    if (!this.#allowed.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')) {
      this.#refused('HL7_PEER_REFUSED', 'not-allowed');
      socket.destroy();
    } else if (secure) {
      const peer = peerOf(socket);
      this.#handshakes.set(peer, socket);
      socket.once('close', () => this.#handshakes.delete(peer));
      secure.emit('connection', socket);
    } else {
      this.#connected(socket);
    }
  }

  #connected(socket: Socket): void {
    const connection = new Connection(socket, this.#options, this.#receiver, this.#host);
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    this.#host.report({ name: 'source.connected', source: this.#host.name });
  }

  async #tlsServer({ cert, key, ca, requireClientCert, minVersion }: TlsListenerOptions): Promise<TlsServer> {
    const files = {
      cert: await readPem(cert),
      key: await readPem(key),
      ...(ca !== undefined && { ca: await readPem(ca) }),
    };
    const server = makeTlsServer(cert, {
      ...files,
      minVersion,
      requestCert: ca !== undefined,
      rejectUnauthorized: requireClientCert,
      handshakeTimeout: handshakeMsMax,
      allowHalfOpen: true,
    });
    server.on('secureConnection', (socket) => {
      this.#handshakes.delete(peerOf(socket));
      this.#connected(socket);
    });
    server.on('tlsClientError', (error, socket) => this.#refused('HL7_TLS_REFUSED', tlsWord(error, socket)));
    return server;
  }

  async #watch(server: Server): Promise<void> {
    const done = new AbortController();
    server.once('close', () => done.abort());
    while (!done.signal.aborted) {
      await this.#host.clock.sleep(checkEveryMs, done.signal);
      for (const connection of this.#connections) connection.check();
    }
  }

  #refused(code: ErrorCode, word: string): void {
    this.#host.report({ name: 'source.connection-refused', source: this.#host.name, code, word });
  }

  /** Of accepting a connection, such as too many open files; those that are open go on. */
  #failed(error: Error): void {
    const { host, port } = this.#options.listen;
    const { code } = new ConnectorError('HL7_LISTEN_FAILED', { host, port, reason: reasonOf(error) });
    this.#host.report({ name: 'source.failed', source: this.#host.name, code });
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function listOf(allow: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of allow) {
    const [address = '', prefix] = entry.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

/** @throws ConnectorError HL7_LISTEN_FAILED */
async function bind(server: Server, { host, port }: HostPort): Promise<number> {
  try {
    server.listen({ host, port });
    await once(server, 'listening');
    return portOf(server);
  } catch (cause) {
    throw new ConnectorError('HL7_LISTEN_FAILED', { host, port, reason: reasonOf(cause) }, { cause });
  }
}

function portOf(server: Server): number {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

/** An address that stands for all of them is reached through loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

/** @throws ConnectorError HL7_UNREACHABLE */
async function touch({ host, port }: HostPort): Promise<void> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect');
  } catch (cause) {
    throw new ConnectorError('HL7_UNREACHABLE', { host, port, reason: reasonOf(cause) }, { cause });
  } finally {
    socket.destroy();
  }
}

/** @throws ConnectorError FILE_UNREADABLE */
async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}

/** @throws ConnectorError HL7_TLS_UNUSABLE - not PEM, or a key that is not the certificate's. */
function makeTlsServer(path: string, options: Parameters<typeof createTlsServer>[0] & object): TlsServer {
  try {
    return createTlsServer(options);
  } catch (cause) {
    throw new ConnectorError('HL7_TLS_UNUSABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}

/** Why a handshake failed, from a closed list: a certificate's own text is the peer's. */
const tlsWords: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not-yet-valid',
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'no-certificate',
  UNABLE_TO_GET_ISSUER_CERT: 'unknown-issuer',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unknown-issuer',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unknown-issuer',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'unknown-issuer',
  SELF_SIGNED_CERT_IN_CHAIN: 'unknown-issuer',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'too-old',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not-tls',
  ERR_SSL_HTTP_REQUEST: 'not-tls',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'too-slow',
};

function tlsWord(error: Error, socket: TLSSocket): string {
  // A certificate that does not verify is told on the socket; the error then only says that the socket was closed.
  const verdict: unknown = socket.authorizationError;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return tlsWords[typeof verdict === 'string' ? verdict : code] ?? 'other';
}
