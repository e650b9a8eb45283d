import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { associateRequest, pdu } from '../../peers/dicom/scu.ts';
import { run } from '../../peers/dicom/dcmtk.ts';
import { makeSource, startSource, stopSources } from './host.ts';

let folder: string;
const path = (name: string) => join(folder, name);
const openssl = (line: string) => execFileSync('openssl', line.split(' '), { cwd: folder, stdio: 'pipe' });
const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';

function makeCertificate(name: string, days: number): void {
  openssl(`req -new ${newKey} -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`);
  const signed = `-CA ca.pem -CAkey ca.key -CAcreateserial -days ${days} -extfile extensions`;
  openssl(`x509 -req -in ${name}.csr ${signed} -out ${name}.pem`);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-dicom-tls-'));
  writeFileSync(path('extensions'), 'subjectAltName=IP:127.0.0.1\n');
  openssl(`req -x509 ${newKey} -subj /CN=ca -days 2 -keyout ca.key -out ca.pem`);
  makeCertificate('server', 2);
  makeCertificate('modality', 2);
  makeCertificate('expired', -1);
});

afterAll(() => rmSync(folder, { recursive: true }));
afterEach(stopSources);

const tls = (more: object = {}) => ({
  tls: { cert: path('server.pem'), key: path('server.key'), ca: path('ca.pem'), ...more },
});

/** The type of the first PDU heard over TLS; undefined when the connection was closed instead. */
async function firstPdu(port: number, name?: string): Promise<number | undefined> {
  const own =
    name === undefined ? {} : { cert: readFileSync(path(`${name}.pem`)), key: readFileSync(path(`${name}.key`)) };
  const socket = connect({ port, host: '127.0.0.1', ca: readFileSync(path('ca.pem')), ...own });
  const heard = Promise.withResolvers<number | undefined>();
  socket.once('data', (bytes: Buffer) => heard.resolve(bytes[0]));
  socket.once('error', () => heard.resolve(undefined));
  socket.once('close', () => heard.resolve(undefined));
  socket.write(associateRequest());
  const type = await heard.promise;
  if (type !== undefined) socket.end(pdu(5, Buffer.alloc(4)));
  socket.destroy();
  return type;
}

describe('DICOM over TLS', () => {
  it('serves a modality with a certificate of the CA', async () => {
    const { port } = await startSource(tls());
    expect(await firstPdu(port, 'modality')).toBe(2);
  });

  it('serves DCMTK, which speaks TLS 1.2, only where that is allowed', async () => {
    const { port } = await startSource(tls({ minVersion: 'TLSv1.2' }));
    const keys = ['+tls', path('modality.key'), path('modality.pem'), '+cf', path('ca.pem')];
    const { code, said } = await run('echoscu', [...keys, '-aec', 'KAKEHASHI', '127.0.0.1', String(port)]);
    expect([code, said]).toEqual([0, '']);
  });

  it.each([
    ['without a certificate', undefined, 'no-certificate'],
    ['with an expired certificate', 'expired', 'expired'],
  ])('turns away a sender %s', async (_, name, word) => {
    const { port, told } = await startSource(tls());
    expect(await firstPdu(port, name)).toBeUndefined();
    expect(await told('source.connection-refused', word)).toMatchObject({ code: 'DICOM_TLS_REFUSED' });
  });

  it('serves a sender without certificate when none is required', async () => {
    const { port } = await startSource(tls({ ca: undefined, requireClientCert: false }));
    expect(await firstPdu(port)).toBe(2);
  });

  it('closes a handshake that hangs when it stops', async () => {
    const { port, source } = await startSource(tls());
    const silent = connectPlain({ port, host: '127.0.0.1' });
    await once(silent, 'connect');
    const closed = once(silent, 'close');
    await source.stop();
    silent.end();
    await expect(closed).resolves.toEqual([false]);
  });

  it('does not listen with a key that is not the certificate’s, or a file that is missing', async () => {
    const refusal = async (more: object) => makeSource(tls(more)).source.listen?.();
    await expect(refusal({ key: path('modality.key') })).rejects.toMatchObject({ code: 'DICOM_TLS_UNUSABLE' });
    await expect(refusal({ cert: path('missing.pem') })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});
