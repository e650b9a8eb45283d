import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { type ConnectionOptions, TLSSocket } from 'node:tls';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { block, Parrot } from '../../peers/mllp/parrot.ts';
import { makeSource, startSource, stopSources } from './host.ts';
import { message } from './messages.ts';

let folder: string;
const path = (name: string) => join(folder, name);
const openssl = (...parameters: string[]) => execFileSync('openssl', parameters, { cwd: folder, stdio: 'pipe' });

function makeCa(name: string): void {
  openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    `/CN=${name}`,
    '-days',
    '2',
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.pem`,
  );
}

function makeCertificate(name: string, ca: string, validity: readonly string[]): void {
  openssl(
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
  );
  writeFileSync(path('extensions'), 'subjectAltName=IP:127.0.0.1\n');
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${ca}.pem`,
    '-CAkey',
    `${ca}.key`,
    '-CAcreateserial',
    ...validity,
    '-extfile',
    'extensions',
    '-out',
    `${name}.pem`,
  );
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hl7-tls-'));
  makeCa('ca');
  makeCa('other-ca');
  makeCertificate('server', 'ca', ['-days', '2']);
  makeCertificate('sender', 'ca', ['-days', '2']);
  makeCertificate('expired', 'ca', ['-days', '-1']);
  makeCertificate('stranger', 'other-ca', ['-days', '2']);
});

afterAll(() => rmSync(folder, { recursive: true }));
afterEach(stopSources);

const tls = (more: object = {}) => ({
  tls: { cert: path('server.pem'), key: path('server.key'), ca: path('ca.pem'), ...more },
});

function client(name?: string): ConnectionOptions {
  const read = (file: string) => readFileSync(path(file));
  return { ca: read('ca.pem'), ...(name !== undefined && { cert: read(`${name}.pem`), key: read(`${name}.key`) }) };
}

/** In TLS 1.3 a client learns after its own handshake that its certificate was refused. */
async function refusedPeer(port: number, options: ConnectionOptions): Promise<Parrot | undefined> {
  try {
    const peer = await Parrot.connect(port, options);
    peer.socket.write(block(message({ controlId: 'M1' })));
    await peer.closed();
    return peer;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    return undefined;
  }
}

describe('HL7 over TLS', () => {
  it('serves a sender with a certificate of the CA, over TLS 1.3, and answers it before it stops', async () => {
    const { port, source, intake } = await startSource(tls());
    const peer = await Parrot.connect(port, client('sender'));
    expect(peer.socket instanceof TLSSocket && peer.socket.getProtocol()).toBe('TLSv1.3');
    const commit = Promise.withResolvers<void>();
    intake.gate = commit.promise;
    await peer.say(block(message({ controlId: 'M1' })));
    await intake.whenOffered(1);
    const stopped = source.stop();
    commit.resolve();
    await stopped;
    await peer.closed();
    expect(peer.verdicts).toEqual(['AA M1']);
  });

  it.each([
    ['without a certificate', undefined, 'no-certificate'],
    ['with an expired certificate', 'expired', 'expired'],
    ['with a certificate of another CA', 'stranger', 'unknown-issuer'],
  ])('turns away a sender %s and reads nothing of it', async (_, name, word) => {
    const { port, told, intake } = await startSource(tls());
    const peer = await refusedPeer(port, client(name));
    expect(await told('source.connection-refused', word)).toMatchObject({ code: 'HL7_TLS_REFUSED' });
    expect([peer?.verdicts ?? [], intake.offered]).toEqual([[], 0]);
  });

  it('turns away what is no TLS, and serves the next', async () => {
    const { port, told } = await startSource(tls());
    const plain = connect({ port, host: '127.0.0.1' });
    plain.on('error', () => plain.destroy());
    plain.write(block(message({ controlId: 'M1' })));
    await told('source.connection-refused');
    plain.destroy();
    const peer = await Parrot.connect(port, client('sender'));
    await peer.say(block(message({ controlId: 'M1' })));
    expect(await peer.hear(1)).toHaveLength(1);
    peer.destroy();
  });

  it('turns away TLS 1.2 unless it is allowed', async () => {
    const strict = await startSource(tls());
    await refusedPeer(strict.port, { ...client('sender'), maxVersion: 'TLSv1.2' });
    await strict.told('source.connection-refused', 'too-old');
    const lenient = await startSource(tls({ minVersion: 'TLSv1.2' }));
    const peer = await Parrot.connect(lenient.port, { ...client('sender'), maxVersion: 'TLSv1.2' });
    await peer.say(block(message({ controlId: 'M1' })));
    expect(await peer.hear(1)).toHaveLength(1);
    peer.destroy();
  });

  it('serves a sender without certificate when none is required', async () => {
    const { port } = await startSource({
      tls: { cert: path('server.pem'), key: path('server.key'), requireClientCert: false },
    });
    const peer = await Parrot.connect(port, client());
    await peer.say(block(message({ controlId: 'M1' })));
    expect(await peer.hear(1)).toHaveLength(1);
    peer.destroy();
  });

  it('closes a handshake that hangs when it stops', async () => {
    const { port, source } = await startSource(tls());
    const silent = await Parrot.connect(port);
    await source.stop();
    await expect(silent.closed()).resolves.toBeUndefined();
  });

  it('does not listen with a key that is not the certificate’s, or a file that is missing', async () => {
    await expect(makeSource(tls({ key: path('sender.key') })).source.listen?.()).rejects.toMatchObject({
      code: 'HL7_TLS_UNUSABLE',
    });
    await expect(makeSource(tls({ cert: path('missing.pem') })).source.listen?.()).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
  });

  it('asks in the configuration for the CA when client certificates are required', () => {
    expect(() => makeSource({ tls: { cert: 'a', key: 'b' } })).toThrow('expected the CA');
  });
});
