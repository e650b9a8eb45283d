/**
 * The way out: TCP, a CONNECT proxy where the hospital has one, TLS with our own idea of whom to trust.
 *
 * A `Dialer` is given to undici as its `connect`. It is ours, and not undici's `ProxyAgent` with its own connector,
 * for two reasons. It keeps the bare TCP sockets, so that a connection can be **reset**: `destroy` closes politely, and
 * the kernel then goes on to deliver what it holds (3.7 MB were seen to leave after `destroy`; none after a reset). And
 * it sees the proxy's status and the certificate's fault as they are, before a library turns them into text.
 *
 * Certificate files are read again at each connection, so a renewed one needs no restart. There is no TLS session
 * resumption: a resumed session is not checked against the certificate again.
 */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect as tcpConnect, isIP, type Socket } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';
import { ConnectorError, type ErrorCode, reasonOf } from '../model/errors.ts';
import type { Clock } from '../model/ports.ts';
import { request } from './http.ts';

/** PEM files. `ca` alone is trusted, never the system's list beside it. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** An HTTP CONNECT proxy, `http://host:port`. Basic is the only authentication spoken. */
export interface ProxyOptions {
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
}

/** What is asked of TLS by a peer that is not a producer: a server's name may be enough, and its TLS may be older. */
export interface TlsOptions {
  /** Without it the authorities Node trusts. */
  readonly ca?: string | undefined;
  /** With `key`, or neither: then we show no certificate. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Default: TLSv1.3. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
}

export interface DialerOptions {
  readonly tls: TlsFiles | TlsOptions;
  readonly proxy?: ProxyOptions | undefined;
  readonly clock: Clock;
}

interface Target {
  readonly host: string;
  readonly port: number;
}

/** `isPlain`: no TLS, because the URL says http. Who may say so is for the configuration to decide. */
interface Destination extends Target {
  readonly isPlain: boolean;
}

/** From the first packet to the end of the TLS handshake; a satellite line and a slow proxy fit. */
const dialMsMax = 30_000;

/** TCP keep-alive on an idle connection, below the 60 s after which common firewalls forget it. */
const keepAliveMs = 45_000;

/** A certificate file is a few kilobytes; a chain with its roots stays below this. */
const pemBytesMax = 1024 * 1024;

export class Dialer {
  readonly #options: DialerOptions;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  #fault: ErrorCode | undefined;

  /** @throws ConnectorError PROXY_UNSUPPORTED */
  constructor(options: DialerOptions) {
    if (options.proxy && new URL(options.proxy.url).protocol !== 'http:') throw new ConnectorError('PROXY_UNSUPPORTED');
    this.#options = options;
  }

  /** For undici's `connect`. Every error it gives is a ConnectorError. */
  readonly connect: buildConnector.connector = (to, callback) => {
    const isPlain = to.protocol === 'http:';
    const target = { host: to.hostname, port: to.port ? Number(to.port) : isPlain ? 80 : 443, isPlain };
    void this.#answer(target, callback);
  };

  /** Resolves when the connections that are being ended are closed. */
  async closed(): Promise<void> {
    await Promise.all([...this.#sockets].map((socket) => closeOf(socket)));
  }

  async #answer(target: Destination, callback: buildConnector.Callback): Promise<void> {
    let socket: Socket;
    try {
      socket = await this.#dial(target);
    } catch (error) {
      callback(error instanceof Error ? error : new Error('dial', { cause: error }), null);
      return;
    }
    callback(null, socket);
  }

  /**
   * The TLS fault that ended the last connection, if one did. In TLS 1.3 a server refuses a client certificate after
   * the handshake has succeeded for the client, and undici then tells only that the other side closed.
   */
  get fault(): ErrorCode | undefined {
    return this.#fault;
  }

  /**
   * Resets every connection and allows no new one. Once it resolves the sockets are closed and what the kernel still
   * held of them is thrown away: nothing leaves any more. Harmless twice.
   */
  async cut(): Promise<void> {
    this.#isCut = true;
    await Promise.all([...this.#sockets].map((socket) => reset(socket)));
  }

  async #dial(target: Destination): Promise<Socket> {
    const { clock, tls } = this.#options;
    const files = target.isPlain ? undefined : await readTls(tls, clock);
    const opened: Socket[] = [];
    const done = new AbortController();
    const deadline = async () => {
      await clock.sleep(dialMsMax, done.signal);
      if (!done.signal.aborted) for (const socket of opened) socket.destroy(timedOut());
    };
    void deadline();
    try {
      const socket = await this.#tunnel(target, opened);
      return files ? await this.#secure(socket, target, files) : socket;
    } catch (error) {
      for (const socket of opened) socket.destroy();
      throw error;
    } finally {
      done.abort();
    }
  }

  async #tunnel(target: Target, opened: Socket[]): Promise<Socket> {
    const { proxy } = this.#options;
    if (!proxy) return this.#tcp(target, opened, 'NET_UNREACHABLE');
    const url = new URL(proxy.url);
    const at = { host: url.hostname, port: url.port ? Number(url.port) : 80 };
    const socket = await this.#tcp(at, opened, 'PROXY_UNREACHABLE');
    await askProxy(socket, proxy, at, target);
    return socket;
  }

  async #tcp(target: Target, opened: Socket[], failure: ErrorCode): Promise<Socket> {
    const peer = `${target.host}:${target.port}`;
    if (this.#isCut) throw new ConnectorError('NET_CUT', { peer, reason: 'stopped' });
    const socket = tcpConnect({ ...target, host: bare(target.host), noDelay: true, keepAlive: true });
    socket.setKeepAlive(true, keepAliveMs);
    // For good: a reset's error is told by the TLS socket above or by the wait below, and must not end the process.
    socket.on('error', toldElsewhere);
    opened.push(socket);
    this.#sockets.add(socket);
    // A socket that is destroyed while it connects gives no error of its own: only this ends the wait.
    const gone = new AbortController();
    socket.once('close', () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    try {
      await once(socket, 'connect', { signal: gone.signal });
      return socket;
    } catch (cause) {
      throw new ConnectorError(failure, { peer, reason: reasonOf(cause) }, { cause });
    }
  }

  async #secure(socket: Socket, target: Target, files: PemFiles): Promise<TLSSocket> {
    const host = bare(target.host);
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const secure = tlsConnect({
      socket,
      host,
      ...servername,
      ...files,
      minVersion: minVersionOf(this.#options.tls),
      ALPNProtocols: ['http/1.1'],
    });
    this.#fault = undefined;
    secure.on('error', (error) => {
      this.#fault ??= faultOf(error, this.#options.proxy !== undefined);
    });
    // Closing the tunnel below destroys this one without an error: only its 'close' ends the wait, and with it the
    // deadline's timer, which would keep a stopped agent from ending for half a minute.
    const gone = new AbortController();
    secure.once('close', () => gone.abort());
    try {
      await once(secure, 'secureConnect', { signal: gone.signal });
      return secure;
    } catch (cause) {
      const peer = `${target.host}:${target.port}`;
      const code = faultOf(cause, this.#options.proxy !== undefined) ?? 'NET_UNREACHABLE';
      throw new ConnectorError(code, { peer, reason: reasonOf(cause) }, { cause });
    }
  }
}

/** Closes with RST: SO_LINGER 0 makes the kernel drop its send buffer. */
async function reset(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const closed = closeOf(socket);
  // While connecting there is nothing to drop, and `resetAndDestroy` would wait for the connection first.
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
  await closed;
}

/** Not `once`: that would reject for a peer's reset which comes first, and only the close counts. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
  });
}

async function askProxy(socket: Socket, proxy: ProxyOptions, at: Target, target: Target): Promise<void> {
  const peer = `${at.host}:${at.port}`;
  const path = `${target.host}:${target.port}`;
  const headers = { host: path, ...basic(proxy) };
  const asked = request({ method: 'CONNECT', path, headers, createConnection: () => socket });
  asked.end();
  let status = 0;
  asked.once('connect', (answer) => {
    status = answer.statusCode ?? 0;
  });
  try {
    await once(asked, 'connect');
  } catch (cause) {
    throw new ConnectorError('PROXY_UNREACHABLE', { peer, reason: reasonOf(cause) }, { cause });
  }
  if (status === 200) return;
  throw new ConnectorError(status === 407 ? 'PROXY_AUTH_REQUIRED' : 'PROXY_REFUSED', { peer, status });
}

function basic({ username, password }: ProxyOptions): Record<string, string> {
  if (username === undefined) return {};
  return { 'proxy-authorization': `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}` };
}

interface PemFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

function minVersionOf(tls: TlsFiles | TlsOptions): 'TLSv1.2' | 'TLSv1.3' {
  return ('minVersion' in tls ? tls.minVersion : undefined) ?? 'TLSv1.3';
}

/**
 * Reads the files and looks at our own certificate before the other side does: a server that refuses it often says
 * nothing, and only closes.
 */
async function readTls(files: TlsFiles | TlsOptions, clock: Clock): Promise<PemFiles> {
  const { ca: caPath, cert: certPath, key: keyPath } = files;
  const ca = caPath === undefined ? undefined : await readPem(caPath);
  if (caPath !== undefined && ca) parse(caPath, () => new X509Certificate(ca));
  const trusted = ca && { ca };
  if (certPath === undefined || keyPath === undefined) return { ...trusted };
  const [cert, key] = await Promise.all([readPem(certPath), readPem(keyPath)]);
  checkOwn({ certPath, cert, keyPath, key }, clock.now());
  return { ...trusted, cert, key };
}

interface OwnPair {
  readonly certPath: string;
  readonly cert: Buffer;
  readonly keyPath: string;
  readonly key: Buffer;
}

function checkOwn({ certPath: path, cert, keyPath, key }: OwnPair, now: number): void {
  const own = parse(path, () => new X509Certificate(cert));
  const isPair = parse(keyPath, () => own.checkPrivateKey(createPrivateKey(key)));
  if (!isPair) throw new ConnectorError('TLS_CLIENT_UNUSABLE', { path, reason: 'it does not belong to the key' });
  const [from, to] = [own.validFromDate, own.validToDate];
  if (now > to.getTime()) throw new ConnectorError('TLS_CLIENT_EXPIRED', { path, day: to.toISOString().slice(0, 10) });
  if (now < from.getTime()) {
    throw new ConnectorError('TLS_CLIENT_NOT_YET_VALID', { path, day: from.toISOString().slice(0, 10) });
  }
}

async function readPem(path: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    if (bytes.length <= pemBytesMax) return bytes;
  } catch (cause) {
    throw new ConnectorError('TLS_CLIENT_UNUSABLE', { path, reason: reasonOf(cause) }, { cause });
  }
  throw new ConnectorError('TLS_CLIENT_UNUSABLE', { path, reason: `it is larger than ${pemBytesMax} bytes` });
}

function parse<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new ConnectorError('TLS_CLIENT_UNUSABLE', { path, reason: 'it is not PEM of the right kind' }, { cause });
  }
}

/** OpenSSL's verdicts and alerts, by Node's names for them. Alerts: RFC 8446 section 6.2. */
const faults: Readonly<Record<string, ErrorCode>> = {
  CERT_HAS_EXPIRED: 'TLS_SERVER_EXPIRED',
  CERT_NOT_YET_VALID: 'TLS_SERVER_NOT_YET_VALID',
  ERR_TLS_CERT_ALTNAME_INVALID: 'TLS_SERVER_NAME',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'TLS_SERVER_UNKNOWN',
  SELF_SIGNED_CERT_IN_CHAIN: 'TLS_SERVER_UNKNOWN',
  UNABLE_TO_GET_ISSUER_CERT: 'TLS_SERVER_UNKNOWN',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'TLS_SERVER_UNKNOWN',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'TLS_SERVER_UNKNOWN',
  CERT_SIGNATURE_FAILURE: 'TLS_SERVER_UNKNOWN',
  CERT_UNTRUSTED: 'TLS_SERVER_UNKNOWN',
  INVALID_CA: 'TLS_SERVER_UNKNOWN',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'TLS_TOO_OLD',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'TLS_TOO_OLD',
  ERR_SSL_WRONG_VERSION_NUMBER: 'TLS_TOO_OLD',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'TLS_CLIENT_REFUSED',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'TLS_CLIENT_REFUSED',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'TLS_CLIENT_REFUSED',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED: 'TLS_CLIENT_REFUSED',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: 'TLS_CLIENT_REFUSED',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'TLS_CLIENT_REFUSED',
  ERR_SSL_TLSV1_ALERT_ACCESS_DENIED: 'TLS_CLIENT_REFUSED',
};

/** The code of a fault of certificates or protocol; undefined for anything else, such as a cut line. */
function faultOf(error: unknown, isProxied: boolean): ErrorCode | undefined {
  const found = error instanceof Error && 'code' in error ? faults[String(error.code)] : undefined;
  // Behind a proxy an unknown issuer nearly always is the proxy itself, opening what passes through it.
  return found === 'TLS_SERVER_UNKNOWN' && isProxied ? 'TLS_INSPECTED' : found;
}

/** URL writes an IPv6 host in brackets, sockets want it without. */
function bare(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function timedOut(): Error {
  return Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' });
}

function toldElsewhere(): undefined {
  return undefined;
}
