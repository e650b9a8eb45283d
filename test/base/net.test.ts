import { once } from 'node:events';
import { appendFile, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { Dialer, type TlsFiles } from '../../agent/base/net.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Clock } from '../../agent/model/ports.ts';
import type { ProducerLink } from '../../agent/ship/link.ts';
import { Authority, writeClient } from '../peers/producer/certificates.ts';
import { OpensslServer } from '../peers/producer/openssl-server.ts';
import { portOf } from '../peers/producer/port.ts';
import { ConnectProxy } from '../peers/producer/proxies.ts';
import { ScriptedProducer } from '../peers/producer/scripted.ts';
import { ManualClock, settled } from '../ship/manual-clock.ts';
import { Rig } from '../ship/rig.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.create();
});
afterEach(() => rig.close());

const codeOf = (link: ProducerLink) =>
  link.health().then(
    () => 'none',
    (error: unknown) => (error instanceof ConnectorError ? error.code : error),
  );

/** A producer whose server certificate is another one than the rig's. */
async function producerWith(issue: { fromDay?: number; toDay?: number; names?: [] }): Promise<ScriptedProducer> {
  const server = await rig.certificates.authority.issue({ commonName: 'other.example', ...issue });
  return rig.keep(await ScriptedProducer.start({ ...rig.certificates, server }));
}

async function client(name: string, issue: { fromDay?: number; toDay?: number } = {}): Promise<TlsFiles> {
  const { authority } = rig.certificates;
  return writeClient(rig.folder, name, authority.cert, await authority.issue({ commonName: name, ...issue }));
}

describe('the certificate of the other side', () => {
  it.each([
    ['TLS_SERVER_EXPIRED', { fromDay: -10, toDay: -1 }],
    ['TLS_SERVER_NOT_YET_VALID', { fromDay: 1 }],
    ['TLS_SERVER_NAME', { names: [] as [] }],
  ])('is refused with %s', async (code, issue) => {
    const producer = await producerWith(issue);
    expect(await codeOf(rig.link(producer.url))).toBe(code);
    expect(producer.seen).toEqual([]);
  });

  it('is refused when another authority made it, although the system or the file of another link may trust it', async () => {
    const producer = await rig.producer();
    const other = await Authority.create('Another CA');
    const ca = `${rig.folder}/another.pem`;
    await writeFile(ca, other.cert);
    expect(await codeOf(rig.link(producer.url, { tls: { ...rig.certificates.client, ca } }))).toBe(
      'TLS_SERVER_UNKNOWN',
    );
  });

  it('does not matter when the server speaks TLS 1.2 only: it is refused', async () => {
    const producer = await rig.producer({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' });
    expect(await codeOf(rig.link(producer.url))).toBe('TLS_TOO_OLD');
  });

  it('does not matter when the port speaks no TLS at all', async () => {
    const proxy = rig.keep(await ConnectProxy.start());
    expect(await codeOf(rig.link(`https://127.0.0.1:${proxy.port}/`))).toBe('TLS_TOO_OLD');
  });
});

describe('our own certificate', () => {
  it.each([
    ['TLS_CLIENT_EXPIRED', { fromDay: -10, toDay: -1 }],
    ['TLS_CLIENT_NOT_YET_VALID', { fromDay: 1 }],
  ])('is looked at before the other side sees it: %s', async (code, issue) => {
    const producer = await rig.producer();
    expect(await codeOf(rig.link(producer.url, { tls: await client('dated', issue) }))).toBe(code);
    expect(producer.openSockets).toBe(0);
  });

  it('works as soon as the file is replaced, without a restart', async () => {
    const producer = await rig.producer();
    const link = rig.link(producer.url, { tls: await client('renewed', { fromDay: -10, toDay: -1 }) });
    expect(await codeOf(link)).toBe('TLS_CLIENT_EXPIRED');
    await client('renewed');
    expect((await link.health()).producer).toBe('ldi');
  });

  it('is not usable when it is missing, not PEM, too large, or of another key', async () => {
    const producer = await rig.producer();
    const tls = rig.certificates.client;
    const broken = await client('broken');
    await writeFile(broken.cert, 'no certificate');
    const large = await client('large');
    await appendFile(large.cert, Buffer.alloc(1024 * 1024));
    const odd = { ...tls, key: (await client('odd')).key };
    for (const files of [{ ...tls, key: '/nowhere/key.pem' }, broken, large, odd]) {
      expect(await codeOf(rig.link(producer.url, { tls: files }))).toBe('TLS_CLIENT_UNUSABLE');
    }
  });

  it('that a Node server refuses in silence is a cut connection, and the hint names the certificate', async () => {
    const producer = await rig.producer();
    const stranger = await Authority.create('Stranger');
    const pair = await stranger.issue({ commonName: 'stranger' });
    const tls = await writeClient(rig.folder, 'stranger', rig.certificates.authority.cert, pair);
    expect(await codeOf(rig.link(producer.url, { tls }))).toBe('NET_CUT');
    expect(new ConnectorError('NET_CUT').hint).toContain('certificate');
    expect(producer.seen).toEqual([]);
  });

  it('that a server refuses with an alert, as OpenSSL does, has a code of its own', async () => {
    const stranger = await Authority.create('Stranger');
    const pair = await stranger.issue({ commonName: 'stranger' });
    const tls = await writeClient(rig.folder, 'stranger', rig.certificates.authority.cert, pair);
    const server = rig.keep(await OpensslServer.start(rig.folder, rig.certificates));
    expect(await codeOf(rig.link(server.url, { tls }))).toBe('TLS_CLIENT_REFUSED');
  });
});

describe('the proxy', () => {
  it('that wants a password is told apart from everything else, and the password is in no error', async () => {
    const producer = await rig.producer();
    const proxy = rig.keep(await ConnectProxy.start({ credentials: 'kakehashi:right' }));
    expect(await codeOf(rig.link(producer.url, { proxy: { url: proxy.url } }))).toBe('PROXY_AUTH_REQUIRED');
    const wrong = rig.link(producer.url, { proxy: { url: proxy.url, username: 'kakehashi', password: 'wrong-one' } });
    const error: unknown = await wrong.health().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'PROXY_AUTH_REQUIRED' });
    expect(JSON.stringify(error) + String(error)).not.toContain('wrong-one');
    const right = rig.link(producer.url, { proxy: { url: proxy.url, username: 'kakehashi', password: 'right' } });
    expect((await right.health()).producer).toBe('ldi');
  });

  it('that opens TLS with an authority of its own is named, and gets nothing', async () => {
    const producer = await rig.producer();
    const inspector = await Authority.create('Hospital firewall');
    const inspectWith = await inspector.issue({ commonName: 'localhost' });
    const proxy = rig.keep(await ConnectProxy.start({ inspectWith }));
    expect(await codeOf(rig.link(producer.url, { proxy: { url: proxy.url } }))).toBe('TLS_INSPECTED');
    expect(producer.openSockets).toBe(0);
  });

  it('that refuses, is away, or is of another kind has its own codes', async () => {
    const producer = await rig.producer();
    const refusing = rig.keep(await ConnectProxy.start({ refuseWith: 403 }));
    expect(await codeOf(rig.link(producer.url, { proxy: { url: refusing.url } }))).toBe('PROXY_REFUSED');
    const gone = await ConnectProxy.start();
    await gone.close();
    expect(await codeOf(rig.link(producer.url, { proxy: { url: gone.url } }))).toBe('PROXY_UNREACHABLE');
    const socks = { proxy: { url: 'socks5://127.0.0.1:1080' } };
    expect(() => rig.link(producer.url, socks)).toThrow('not an http:// address');
  });
});

describe('a dial', () => {
  it('that gets no answer is given up after 30 s', async () => {
    const producer = await rig.producer();
    const proxy = rig.keep(await ConnectProxy.start({ isSilent: true }));
    const clock = new ManualClock(Date.now());
    const code = codeOf(rig.link(producer.url, { proxy: { url: proxy.url }, clock }));
    while (proxy.asked.length === 0) await settled();
    await clock.advance(31_000);
    // The dial and the question it is for have the same limit; whichever is first says so.
    expect(['PROXY_UNREACHABLE', 'NET_STALLED']).toContain(await code);
  });

  it('to a name nobody knows is tried again later', async () => {
    expect(await codeOf(rig.link('https://nowhere.invalid/'))).toBe('NET_UNREACHABLE');
  });

  it('is not made any more after the connection was cut', async () => {
    const producer = await rig.producer();
    const line = rig.link(producer.url).openLine();
    await line.cut();
    await line.cut();
    await expect(line.request({ method: 'GET', path: 'v1/health' })).rejects.toMatchObject({ code: 'NET_CUT' });
    expect(producer.openSockets).toBe(0);
  });

  it('that is cut while it connects ends at once, and keeps no process from ending', async () => {
    const producer = await rig.producer();
    const clock = new ManualClock(Date.now());
    const dialer = new Dialer({ tls: {}, clock });
    const { hostname, port } = new URL(producer.url);
    const ended = new Promise<unknown>((resolve) => {
      dialer.connect({ hostname, port, protocol: 'http:', host: hostname }, (...[error]) => resolve(error));
    });
    await dialer.cut();
    expect(await ended).toMatchObject({ code: 'NET_UNREACHABLE' });
    // The limit of the dial waits no longer: its 30 s would be the process's.
    expect(clock.sleeping).toBe(0);
  });

  it('that is cut in the TLS handshake ends at once, and keeps no process from ending', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    const arrived = once(silent, 'connection');
    await once(silent, 'listening');
    const clock = new ManualClock(Date.now());
    const dialer = new Dialer({ tls: {}, clock });
    const to = { hostname: '127.0.0.1', port: String(portOf(silent)), protocol: 'https:', host: '127.0.0.1' };
    const ended = new Promise<unknown>((resolve) => {
      dialer.connect(to, (...[error]) => resolve(error));
    });
    const [peer] = (await arrived) as [Socket];
    // Its first words are here, and get no answer.
    await once(peer, 'data');
    peer.on('error', () => undefined);
    await dialer.cut();
    expect(await ended).toMatchObject({ code: 'NET_UNREACHABLE' });
    expect(clock.sleeping).toBe(0);
    silent.close();
  });

  it('judges our certificate by the clock it is given', async () => {
    const producer = await rig.producer();
    const late: Clock = { ...systemClock, now: () => Date.now() + 40 * 86_400_000 };
    expect(await codeOf(rig.link(producer.url, { clock: late }))).toBe('TLS_CLIENT_EXPIRED');
  });
});

describe('a proxy', () => {
  it('that is spoken to by TLS itself is refused before anything is sent', () => {
    const tls = { ca: 'ca.pem', cert: 'client.pem', key: 'client.key' };
    const options = { tls, proxy: { url: 'https://proxy.example:3128' }, clock: systemClock };
    expect(() => new Dialer(options)).toThrow(expect.objectContaining({ code: 'PROXY_UNSUPPORTED' }));
  });
});
