/**
 * A TCP or TLS server for peers of the hospital's own network, shared by the kinds of source that listen: who may
 * connect, how many, how a handshake ends. It knows no protocol; each socket that is through is given to `connected`.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { BlockList, connect, createServer, isIP, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { HostPort } from '../base/options.ts';
import { ConnectorError, type ErrorCode, reasonOf } from '../model/errors.ts';

export interface TlsServerOptions {
  readonly cert: string;
  readonly key: string;
  /** Whoever issues the peers' certificates; without it no client certificate is asked for. */
  readonly ca?: string | undefined;
  readonly requireClientCert: boolean;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface ServerOptions {
  readonly listen: HostPort;
  /** Addresses and networks peers may connect from. */
  readonly allow: readonly string[];
  readonly connectionsMax: number;
  readonly tls?: TlsServerOptions | undefined;
}

/** What a listener's failures are called in the words of its protocol. */
export interface ServerCodes {
  /** The address cannot be listened on; details `host port reason`. */
  readonly listen: ErrorCode;
  /** Certificate and key cannot be used; details `path reason`. */
  readonly tls: ErrorCode;
  /** It does not answer at its own address; details `host port reason`. */
  readonly unreachable: ErrorCode;
}

/** Why somebody was turned away. The rest is the word of a failed handshake. */
export type Refusal = { readonly why: 'not-allowed' | 'too-many' } | { readonly why: 'tls'; readonly word: string };

export interface ServerEvents {
  readonly connected: (socket: Socket) => void;
  readonly refused: (refusal: Refusal) => void;
  /** Of accepting a connection, such as too many open files; those that are open go on. */
  readonly failed: () => void;
}

/** A handshake on a hospital's network takes milliseconds; one that never ends must not keep a place. */
const handshakeMsMax = 10_000;

/** Probes of a dead peer by the kernel begin after this silence; common firewalls forget a connection after 60 s. */
const keepAliveMs = 45_000;

/** Sockets are read in pieces of up to this size: one P-DATA-TF, some sixty HL7 messages. */
const readBytesMax = 128 * 1024;

export class PeerServer {
  readonly #server: Server;
  readonly #secure: TlsServer | undefined;
  readonly #allowed: BlockList;
  readonly #events: ServerEvents;
  readonly #handshakes = new Map<string, Socket>();

  private constructor(options: ServerOptions, secure: TlsServer | undefined, events: ServerEvents) {
    this.#allowed = listOf(options.allow);
    this.#secure = secure;
    this.#events = events;
    this.#server = createServer(
      {
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveMs,
        highWaterMark: readBytesMax,
      },
      (socket) => this.#arrived(socket),
    );
    this.#server.maxConnections = options.connectionsMax;
    this.#server.on('drop', () => events.refused({ why: 'too-many' }));
    secure?.on('secureConnection', (socket) => {
      this.#handshakes.delete(peerOf(socket));
      events.connected(socket);
    });
    secure?.on('tlsClientError', (error, socket) => events.refused({ why: 'tls', word: tlsWord(error, socket) }));
  }

  /** @throws ConnectorError `codes`, FILE_UNREADABLE */
  static async listen(options: ServerOptions, codes: ServerCodes, events: ServerEvents): Promise<PeerServer> {
    const server = new PeerServer(options, options.tls && (await makeTlsServer(options.tls, codes)), events);
    await bind(server.#server, options.listen, codes);
    server.#server.on('error', events.failed);
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** No new connections; resolves when the last one has ended. */
  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#handshakes.values()) socket.destroy();
    await closed;
  }

  #arrived(socket: Socket): void {
    // Errors before anybody else listens: a peer that resets at once must not end the process.
    socket.on('error', () => socket.destroy());
    const address = socket.remoteAddress ?? '';
    if (!this.#allowed.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')) {
      this.#events.refused({ why: 'not-allowed' });
      socket.destroy();
    } else if (this.#secure) {
      const peer = peerOf(socket);
      this.#handshakes.set(peer, socket);
      socket.once('close', () => this.#handshakes.delete(peer));
      this.#secure.emit('connection', socket);
    } else {
      this.#events.connected(socket);
    }
  }
}

/**
 * Where a listener is reached. Running (`port` is what it bound): it is connected to at its own address. Idle: its
 * address is tried.
 *
 * @throws ConnectorError `codes.listen`, `codes.unreachable`
 */
export async function probeListening(
  listen: HostPort,
  port: number | undefined,
  codes: ServerCodes,
): Promise<HostPort> {
  if (port === undefined) {
    const server = createServer();
    await bind(server, listen, codes);
    server.close();
    return listen;
  }
  const reached = { host: reachable(listen.host), port };
  const socket = connect(reached);
  try {
    await once(socket, 'connect');
    return reached;
  } catch (cause) {
    throw new ConnectorError(codes.unreachable, { ...reached, reason: reasonOf(cause) }, { cause });
  } finally {
    socket.destroy();
  }
}

/** An address that stands for all of them is reached through loopback. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
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

async function bind(server: Server, { host, port }: HostPort, codes: ServerCodes): Promise<void> {
  try {
    server.listen({ host, port });
    await once(server, 'listening');
  } catch (cause) {
    throw new ConnectorError(codes.listen, { host, port, reason: reasonOf(cause) }, { cause });
  }
}

async function makeTlsServer(
  { cert, key, ca, requireClientCert, minVersion }: TlsServerOptions,
  codes: ServerCodes,
): Promise<TlsServer> {
  const files = {
    cert: await readPem(cert),
    key: await readPem(key),
    ...(ca !== undefined && { ca: await readPem(ca) }),
  };
  const options = {
    ...files,
    minVersion,
    requestCert: ca !== undefined,
    rejectUnauthorized: requireClientCert,
    handshakeTimeout: handshakeMsMax,
    allowHalfOpen: true,
  };
  try {
    return createTlsServer(options);
  } catch (cause) {
    throw new ConnectorError(codes.tls, { path: cert, reason: reasonOf(cause) }, { cause });
  }
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
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
