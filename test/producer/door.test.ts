/** Who gets in. curl is the client here: a TLS stack that is not Node's, at its own idea of the rules. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { signJws } from '../../agent/base/jws.ts';
import type { Clock } from '../../agent/model/ports.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { issueClient } from '../../producer/keys/certificates.ts';
import { createClient } from '../../producer/keys/clients.ts';
import { createKeyFolder } from '../../producer/keys/folder.ts';
import { facility, type Hospital, otherFacility, Rig, sha256 } from './rig.ts';

const run = promisify(execFile);
const dayMs = 86_400_000;

/** How curl says that it got no answer: failed handshake, empty reply, reset. */
const shutExits = [35, 52, 56];

let rig: Rig;
let hospital: Hospital;

beforeEach(async () => {
  rig = await Rig.create();
  await rig.start();
  hospital = await rig.hospital(facility);
});
afterEach(() => rig.close());

interface CurlResult {
  /** curl's exit code: 0 is an answer, whatever it says. */
  readonly exit: number;
  readonly status: number;
  readonly body: string;
}

async function curl(folder: string | undefined, path: string, args: readonly string[] = []): Promise<CurlResult> {
  const certificate = folder ? ['--cert', join(folder, 'client.pem'), '--key', join(folder, 'client.key')] : [];
  const fixed = ['--silent', '--cacert', join(hospital.folder, 'ca.pem'), '--write-out', '\n%{http_code}'];
  const url = `https://127.0.0.1:${rig.port}/${path}`;
  const failed = (error: unknown) => ({ stdout: '', code: 0, ...Object(error) });
  const result = await run('curl', [...fixed, ...certificate, ...args, url]).catch(failed);
  const lines = String(result.stdout).split('\n');
  const exit = 'code' in result ? Number(result.code) : 0;
  return { exit, status: Number(lines.at(-1)), body: lines.slice(0, -1).join('\n') };
}

describe('the door', () => {
  it('opens for a hospital whose certificate we issued, and tells the time', async () => {
    const { exit, status, body } = await curl(hospital.folder, 'v1/health', ['--dump-header', '-']);
    expect({ exit, status }).toEqual({ exit: 0, status: 200 });
    expect(body).toMatch(/^Date: .* GMT/m);
    expect(body).toContain('{"ok":true,"producer":"ldi"}');
  });

  it('stays shut without a client certificate', async () => {
    expect(await curl(undefined, 'v1/health')).toMatchObject({ status: 0, exit: expect.toBeOneOf(shutExits) });
  });

  it('stays shut for TLS 1.2', async () => {
    const old = await curl(hospital.folder, 'v1/health', ['--tls-max', '1.2']);
    expect(old).toMatchObject({ status: 0, exit: 35 });
  });

  it('stays shut for a certificate of another authority that names the same hospital', async () => {
    const foreign = join(rig.folder, 'foreign');
    await createKeyFolder(foreign, { name: 'other', hosts: ['127.0.0.1'], now: systemClock.now() });
    const out = join(rig.folder, 'forged');
    await createClient(foreign, { facility, now: systemClock.now(), out });
    expect(await curl(out, 'v1/health')).toMatchObject({ status: 0, exit: expect.toBeOneOf(shutExits) });
  });

  it('stays shut for a certificate that has run out', async () => {
    const out = join(rig.folder, 'expired');
    await createClient(rig.keys, { facility, now: systemClock.now(), notAfter: systemClock.now() - dayMs, out });
    expect(await curl(out, 'v1/health')).toMatchObject({ status: 0, exit: expect.toBeOneOf(shutExits) });
  });

  it("stays shut for the intake's own server certificate: it is no hospital's", async () => {
    const out = join(rig.folder, 'server');
    await createClient(rig.keys, { facility: otherFacility, now: systemClock.now(), out });
    await writeFile(join(out, 'client.pem'), await readFile(join(rig.keys, 'server.pem')));
    await writeFile(join(out, 'client.key'), await readFile(join(rig.keys, 'server.key')));
    expect(await curl(out, 'v1/health')).toMatchObject({ status: 0, exit: expect.toBeOneOf(shutExits) });
  });

  it('refuses a certificate whose CN could not be a facility', async () => {
    const authority = {
      certificate: await readFile(join(rig.keys, 'ca.pem'), 'utf8'),
      key: await readFile(join(rig.keys, 'ca.key'), 'utf8'),
    };
    const issued = await issueClient(authority, { facility: '../1312345670', now: systemClock.now() });
    await writeFile(join(hospital.folder, 'client.pem'), issued.certificate);
    await writeFile(join(hospital.folder, 'client.key'), issued.key);
    const refused = await curl(hospital.folder, 'v1/health');
    expect(refused.status).toBe(403);
    expect(refused.body).toContain('CERTIFICATE_NAME');
  });

  it('closes on a connection whose certificate runs out while it is open', async () => {
    let offsetMs = 0;
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + offsetMs };
    await rig.restart({ clock });
    expect(await hospital.ask({ method: 'GET', path: 'v1/health' })).toMatchObject({ status: 200 });
    offsetMs = 4 * 365 * dayMs;
    const refused = await hospital.ask({ method: 'GET', path: 'v1/health' });
    expect(refused).toMatchObject({ status: 403, code: 'CERTIFICATE_EXPIRED', headers: { connection: 'close' } });
  });

  it('shuts a revoked certificate out at once, also on a connection that is open', async () => {
    const out = join(rig.folder, 'second');
    const { serial } = await createClient(rig.keys, { facility, now: systemClock.now(), out });
    const second = await rig.hospital(facility, { folder: out });
    expect(await second.ask({ method: 'GET', path: 'v1/health' })).toMatchObject({ status: 200 });
    await appendFile(join(rig.keys, 'revoked'), `${serial.toUpperCase()}  # lost\n`);
    const refused = await second.ask({ method: 'GET', path: 'v1/health' });
    expect(refused).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' });
    expect(await hospital.ask({ method: 'GET', path: 'v1/health' })).toMatchObject({ status: 200 });
  });

  it('keeps the list it had when the new one cannot be read, and says so', async () => {
    const out = join(rig.folder, 'second');
    const { serial } = await createClient(rig.keys, { facility, now: systemClock.now(), out });
    const second = await rig.hospital(facility, { folder: out });
    await writeFile(join(rig.keys, 'revoked'), `${serial}\n`);
    expect(await second.ask({ method: 'GET', path: 'v1/health' })).toMatchObject({ status: 403 });
    await writeFile(join(rig.keys, 'revoked'), 'the certificate of the clinic\n');
    expect(await second.ask({ method: 'GET', path: 'v1/health' })).toMatchObject({ status: 403 });
    const refused = { name: 'intake.revocations-refused', code: 'REVOCATION_UNREADABLE' };
    expect(rig.events).toContainEqual(refused);
  });

  it('does not open at all on a revocation list it cannot read, or that is gone', async () => {
    await rig.stop();
    await writeFile(join(rig.keys, 'revoked'), '00\nnot a serial\n');
    await expect(rig.start()).rejects.toMatchObject({ code: 'REVOCATION_UNREADABLE', details: { line: 2 } });
    await rm(join(rig.keys, 'revoked'));
    await expect(rig.start()).rejects.toMatchObject({ code: 'REVOCATION_UNREADABLE' });
  });
});

describe('two hospitals', () => {
  it("cannot see, continue, void or count each other's parcels", async () => {
    const other = await rig.hospital(otherFacility);
    await hospital.hello();
    await other.hello();
    const whole = randomBytes(100);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const { parcelId } = await hospital.deliver(randomBytes(10));
    expect(await other.head(parcelId)).toMatchObject({ status: 404 });
    expect(await other.head(statement.parcelId)).toMatchObject({ status: 404 });
    expect(await other.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 404, code: 'NOT_FOUND' });
    expect(await other.receipts()).toEqual([]);
    // A void of the same id makes a tombstone of its own and leaves the parcel as it was.
    expect(await other.void(statement.parcelId)).toMatchObject({ status: 204 });
    expect(await hospital.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 204 });
    expect(await hospital.receipts()).toHaveLength(2);
  });

  it('may use the same parcel id without meeting', async () => {
    const other = await rig.hospital(otherFacility);
    await hospital.hello();
    await other.hello();
    const [ours, theirs] = [randomBytes(100), randomBytes(100)];
    await hospital.deliver(ours, { parcelId: 'P-same' });
    await other.deliver(theirs, { parcelId: 'P-same' });
    const file = (code: string) => readFile(join(rig.data, 'parcels', code, 'P-same.age'));
    expect(sha256(await file(facility))).toBe(sha256(ours));
    expect(sha256(await file(otherFacility))).toBe(sha256(theirs));
  });
});

describe('a raw upload with curl', () => {
  it('is all that a client needs: create, half, HEAD, the rest, the receipt', async () => {
    await hospital.hello();
    const whole = randomBytes(200_000);
    const half = join(rig.folder, 'half');
    const rest = join(rig.folder, 'rest');
    await writeFile(half, whole.subarray(0, 70_000));
    await writeFile(rest, whole.subarray(70_000));
    const statement = hospital.statement(whole);
    const encoded = (text: string) => Buffer.from(text).toString('base64');
    const metadata = `parcelId ${encoded(statement.parcelId)},statement ${encoded(signJws(hospital.key, jwsTypes.parcel, statement))}`;
    const tus = ['--header', 'Tus-Resumable: 1.0.0'];
    const path = `files/${statement.parcelId}`;
    const create = [...tus, '--header', 'Upload-Length: 200000', '--header', `Upload-Metadata: ${metadata}`];
    expect(await curl(hospital.folder, 'files/', ['--request', 'POST', ...create])).toMatchObject({ status: 201 });
    const type = ['--header', 'Content-Type: application/offset+octet-stream'];
    const part = (file: string, offset: number) => {
      const at = ['--request', 'PATCH', '--header', `Upload-Offset: ${offset}`];
      return [...tus, ...type, ...at, '--data-binary', `@${file}`];
    };
    expect(await curl(hospital.folder, path, part(half, 0))).toMatchObject({ status: 204 });
    const head = await curl(hospital.folder, path, [...tus, '--head']);
    expect(head.body).toMatch(/^Upload-Offset: 70000\r$/m);
    expect(await curl(hospital.folder, path, part(rest, 70_000))).toMatchObject({ status: 204 });
    const { body } = await curl(hospital.folder, 'v1/receipts?after=0');
    expect(JSON.parse(body)).toMatchObject({ receipts: [expect.stringMatching(/^ey/)] });
  });
});

describe('the paths', () => {
  it.each(['', 'v1', 'v2/health', 'files/a/b', 'v1/health/'])('has nothing at /%s', async (path) => {
    expect(await hospital.ask({ method: 'GET', path })).toMatchObject({ status: 404, code: 'NOT_FOUND' });
  });

  it('says which methods a path has', async () => {
    const refused = await hospital.ask({ method: 'PUT', path: 'files/P-1' });
    expect(refused).toMatchObject({
      status: 405,
      code: 'METHOD_NOT_ALLOWED',
      headers: { allow: 'HEAD, PATCH, DELETE' },
    });
  });

  it('tells a tus client what it speaks', async () => {
    const { headers } = await hospital.ask({ method: 'OPTIONS', path: 'files/' });
    expect(headers).toMatchObject({ 'tus-version': '1.0.0', 'tus-extension': 'creation,termination' });
  });
});

describe('the bounds of the door', () => {
  it('refuse more requests of one hospital at once than it needs', async () => {
    await rig.restart({ limits: { requestsPerAgent: 1 } });
    await hospital.hello();
    const statement = hospital.statement(randomBytes(10));
    await hospital.announce(statement);
    const body = new PassThrough();
    body.write(Buffer.alloc(1));
    const first = hospital.patch(statement.parcelId, 0, body);
    let refused = await hospital.ask({ method: 'GET', path: 'v1/health' });
    while (refused.status === 200) refused = await hospital.ask({ method: 'GET', path: 'v1/health' });
    expect(refused).toMatchObject({ status: 429, code: 'BUSY', headers: { 'retry-after': '1' } });
    body.destroy(new Error('enough'));
    await expect(first).rejects.toThrow();
  });

  it.each(['v1/hello', 'v1/retractions'])('refuse a body larger than any %s', async (path) => {
    await hospital.hello();
    expect(await hospital.post(path, 'x'.repeat(70_000))).toMatchObject({ status: 413, code: 'TOO_LARGE' });
  });

  it('refuse a body that did not say how large it is, once it is too large', async () => {
    const body = new PassThrough();
    body.end(Buffer.alloc(70_000, 'x'));
    const headers = { 'content-type': 'application/jose' };
    expect(await hospital.ask({ method: 'POST', path: 'v1/hello', headers, body })).toMatchObject({ status: 413 });
  });

  it('refuse a small body that stops arriving', async () => {
    await rig.restart({ limits: { bodyIdleMs: 100 } });
    const body = new PassThrough();
    body.write('ey');
    const headers = { 'content-type': 'application/jose' };
    const refused = await hospital.ask({ method: 'POST', path: 'v1/hello', headers, body });
    expect(refused).toMatchObject({ status: 408, code: 'BODY_TIMEOUT' });
  });

  it('refuse headers beyond the bound with 431', async () => {
    const long = ['--header', `X-Long: ${'x'.repeat(40_000)}`];
    expect(await curl(hospital.folder, 'v1/health', long)).toMatchObject({ status: 431 });
  });

  it('close a connection that never finishes its headers', async () => {
    await rig.restart({ limits: { headersMs: 100 } });
    const socket = await rawConnection();
    socket.write('GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ');
    socket.resume();
    await once(socket, 'close');
    expect(socket.destroyed).toBe(true);
  });

  it('close a connection more than there may be', async () => {
    await rig.restart({ limits: { connections: 1 } });
    const first = await rawConnection();
    const refused = await curl(hospital.folder, 'v1/health');
    expect(refused).toMatchObject({ status: 0, exit: expect.toBeOneOf(shutExits) });
    first.destroy();
  });

  it('refuse a port that is taken, by name', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    await rig.stop();
    const start = rig.start({ listen: { host: '127.0.0.1', port } });
    await expect(start).rejects.toMatchObject({ code: 'INTAKE_LISTEN_FAILED', details: { reason: 'EADDRINUSE' } });
    taken.close();
    await rig.start();
  });

  it('let one process own a data folder', async () => {
    const second = await Rig.create();
    await expect(second.start({ data: rig.data })).rejects.toMatchObject({ code: 'STATE_LOCKED' });
    await second.close();
  });

  async function rawConnection() {
    const pem = (name: string) => readFile(join(hospital.folder, name));
    const [ca, cert, key] = await Promise.all([pem('ca.pem'), pem('client.pem'), pem('client.key')]);
    const socket = connect({ host: '127.0.0.1', port: rig.port, ca, cert, key });
    await once(socket, 'secureConnect');
    return socket;
  }
});
