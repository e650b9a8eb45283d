import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitOf } from '../../../agent/source/fhir/client.ts';
import { FakeClock, minuteMs, secondMs } from '../../base/fake-clock.ts';
import { makeCertificates, writeClient } from '../../peers/producer/certificates.ts';
import { ConnectProxy } from '../../peers/producer/proxies.ts';
import { observation } from '../../peers/fhir/resources.ts';
import type { FhirServer, RawAnswer } from '../../peers/fhir/server.ts';
import { refusal } from '../../peers/fhir/server.ts';
import { TokenServer } from '../../peers/fhir/token-server.ts';
import { closing, passTime, rig, type Rig, startServer, stopAll } from './host.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-fhir-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

afterEach(stopAll);

const types = ['Observation'];

function withOne(server: FhirServer): FhirServer {
  server.resources.push(observation({ id: 'o1' }), observation({ id: 'o2' }), observation({ id: 'o3' }));
  return server;
}

async function codeOf({ source }: Rig): Promise<string> {
  const probe = await source.probe();
  return probe.ok ? 'ok' : probe.error.code;
}

describe('a link to the next page', () => {
  it.each([
    ['another server', (other: FhirServer) => `${other.url}/Observation?_page=1`],
    ['the same host in clear', (_: FhirServer, own: FhirServer) => own.url.replace('127.0.0.1', 'localhost')],
    ['something that is no web address', () => 'file:///etc/passwd'],
  ])('that leads to %s is not followed, and no password goes there', async (_, linkOf) => {
    const own = withOne(await startServer());
    const other = withOne(await startServer());
    own.edit = (draft) => void (draft.next &&= linkOf(other, own));
    writeFileSync(join(folder, 'password'), 'geheim\n');
    const auth = { kind: 'basic', username: 'kakehashi', password: { file: join(folder, 'password') } };
    const { poll, intake } = rig({ url: own.url, types, count: 1, auth, since: '2026-01-01' });
    await expect(poll()).rejects.toMatchObject({ code: 'FHIR_OTHER_ORIGIN' });
    expect(other.asked).toEqual([]);
    expect(intake.taken).toEqual([]);
  });

  it('may be relative', async () => {
    const server = withOne(await startServer());
    server.edit = (draft) => void (draft.next &&= `Observation${new URL(draft.next).search}`);
    const { poll, intake } = rig({ url: server.url, types, count: 1, since: '2026-01-01' });
    await poll();
    expect(intake.taken).toHaveLength(3);
  });
});

describe('a busy server', () => {
  const now = Date.parse('2026-11-23T00:00:00Z');
  it.each([
    ['seconds', '120', 120_000],
    ['an HTTP date', 'Mon, 23 Nov 2026 00:00:30 GMT', 30_000],
    ['a date that is over', 'Mon, 23 Nov 2026 00:00:00 GMT', 0],
    ['milliseconds since 1970 as seconds', '1795392000000', 15 * minuteMs],
    ['a day', '86400', 15 * minuteMs],
    ['nonsense', 'soon', 0],
    ['nothing', undefined, 0],
  ])('that names %s is waited for, and never longer than 15 minutes', (_, text, expected) => {
    expect(waitOf(text, now)).toBe(expected);
  });

  it('is not asked again before it said', async () => {
    const server = withOne(await startServer());
    const busy: RawAnswer[] = [{ status: 429, headers: { 'retry-after': '1795392000000' } }];
    server.answer = ({ url }) => (url.pathname.endsWith('/Observation') ? busy.pop() : undefined);
    const { poll, intake, clock } = rig({ url: server.url, types, since: '2026-01-01', timeout: '1h' });
    const run = poll();
    while (busy.length > 0) await clock.advance(0);
    const asked = server.asked.length;
    await clock.advance(15 * minuteMs - secondMs);
    expect(server.asked.length).toBe(asked);
    await passTime(clock, run);
    expect(intake.taken).toHaveLength(3);
  });

  it('that stays busy ends the poll, and the other types are not asked', async () => {
    const server = await startServer();
    const { poll, clock } = rig({ url: server.url, types: ['Observation', 'Condition'], since: '2026-01-01' });
    await poll();
    server.answer = () => ({ status: 503 });
    const before = server.asked.length;
    await expect(passTime(clock, poll())).rejects.toMatchObject({ code: 'FHIR_BUSY', class: 'transient' });
    expect(server.asked.length - before).toBe(5);
    expect(server.searches('Condition').filter(({ search }) => search.includes('2026-11-23T01'))).toHaveLength(1);
  });
});

describe('what the server says of an error', () => {
  it('is told by its codes, never by its words', async () => {
    const server = withOne(await startServer());
    server.answer = ({ url }) => (url.pathname.endsWith('metadata') ? refusal(400, 'not-supported') : undefined);
    const probe = await rig({ url: server.url, types }).source.probe();
    expect(probe).toMatchObject({ ok: false, error: { code: 'FHIR_REFUSED', details: { issues: 'not-supported' } } });
    expect(JSON.stringify(probe)).not.toContain('架橋');
  });

  it('is not told at all where the code is none of FHIR', async () => {
    const server = await startServer();
    server.answer = () => refusal(400, 'kakyo-taro');
    const probe = await rig({ url: server.url, types }).source.probe();
    expect(probe).toMatchObject({ error: { details: { issues: 'none' } } });
  });
});

describe('what the server offers', () => {
  it('is shown type by type, with what is missing', async () => {
    const server = await startServer();
    expect(await rig({ url: server.url }).source.probe()).toEqual({
      ok: true,
      peer: expect.stringMatching(/^FHIR 4\.0\.1; by change: Patient Condition Observation; not offered: Coverage /),
    });
  });

  it.each([
    ['ignores the time of change', 'ignored'],
    ['refuses it', 'refused'],
  ] as const)('is read patient by patient where the server %s', async (_, lastUpdated) => {
    const server = withOne(await startServer({ lastUpdated }));
    server.resources.push(observation({ id: 'p' }));
    server.resources.push({ ...observation({ id: 'p' }), type: 'Patient' });
    expect(await rig({ url: server.url, types: ['Patient', 'Observation'] }).source.probe()).toEqual({
      ok: true,
      peer: 'FHIR 4.0.1; whole list: Patient; by patient: Observation',
    });
  });

  it('is nothing to us where it is another version, or none of our types', async () => {
    expect(await codeOf(rig({ url: (await startServer({ fhirVersion: '5.0.0' })).url }))).toBe('FHIR_VERSION');
    expect(await codeOf(rig({ url: (await startServer()).url, types: ['Basic'] }))).toBe('FHIR_NOTHING_OFFERED');
    const plain = await startServer({ lastUpdated: 'refused', types: ['Observation'] });
    expect(await codeOf(rig({ url: plain.url }))).toBe('FHIR_NOTHING_OFFERED');
  });
});

describe('basic authentication', () => {
  it('is sent with each question, with the password as it is now', async () => {
    const server = await startServer();
    const path = join(folder, 'changing');
    writeFileSync(path, 'old\n');
    const { source } = rig({
      url: server.url,
      types,
      auth: { kind: 'basic', username: 'kakehashi', password: { file: path } },
    });
    await source.probe();
    writeFileSync(path, 'new\n');
    await source.probe();
    const sent = [...new Set(server.asked.map(({ authorization }) => authorization))];
    expect(sent).toEqual(['old', 'new'].map((word) => `Basic ${Buffer.from(`kakehashi:${word}`).toString('base64')}`));
  });

  it('that is refused ends the poll and is not tried again', async () => {
    const server = await startServer();
    server.answer = () => ({ status: 401 });
    await expect(rig({ url: server.url, types }).poll()).rejects.toMatchObject({ code: 'FHIR_DENIED' });
    expect(server.asked).toHaveLength(1);
  });
});

describe('SMART Backend Services', () => {
  const keyTypes = {
    ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    RS384: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  } as const;

  async function guarded(alg: 'ES384' | 'RS384', form: 'PEM' | 'JWK' = 'PEM', more: Record<string, unknown> = {}) {
    const { privateKey, publicKey } = keyTypes[alg]();
    const path = join(folder, `${alg}.${form}`);
    const jwk = JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid: 'key-1' });
    writeFileSync(path, form === 'PEM' ? privateKey.export({ type: 'pkcs8', format: 'pem' }) : jwk);
    const server = withOne(await startServer());
    const spki = publicKey.export({ type: 'spki', format: 'pem' });
    const tokens = closing(await TokenServer.start(spki, alg, () => made.clock.now()));
    server.answer = ({ authorization }) => (authorization === `Bearer ${tokens.token}` ? undefined : { status: 401 });
    const auth = { kind: 'smart', tokenUrl: tokens.url, clientId: 'kakehashi', key: { file: path }, alg, ...more };
    const made = rig({ url: server.url, types, auth, count: 1, since: '2026-01-01' });
    return { server, tokens, ...made };
  }

  it.each([
    ['ES384', 'PEM'],
    ['ES384', 'JWK'],
    ['RS384', 'PEM'],
    ['RS384', 'JWK'],
  ] as const)('signs a statement that others accept: %s from %s', async (alg, form) => {
    const { tokens, poll, intake, clock } = await guarded(alg, form);
    await poll();
    expect(tokens.complaints).toEqual([]);
    expect(intake.taken).toHaveLength(3);
    const [{ header, claims, form: sent }] = tokens.statements as [(typeof tokens.statements)[number]];
    expect(header).toEqual({ alg, typ: 'JWT', ...(form === 'JWK' && { kid: 'key-1' }) });
    expect(claims).toMatchObject({ iss: 'kakehashi', sub: 'kakehashi', aud: tokens.url });
    expect((claims.exp ?? 0) * 1000 - clock.now()).toBeLessThanOrEqual(5 * minuteMs);
    expect(sent.get('scope')).toBe('system/*.rs');
    expect(sent.get('grant_type')).toBe('client_credentials');
  });

  it('uses a token until four fifths of its life are over, and never signs the same statement twice', async () => {
    const { tokens, poll, clock } = await guarded('ES384');
    tokens.expiresInSeconds = 100;
    await poll();
    await clock.advance(79 * secondMs);
    await poll();
    expect(tokens.statements).toHaveLength(1);
    await clock.advance(secondMs);
    await poll();
    expect(tokens.statements).toHaveLength(2);
    expect(new Set(tokens.statements.map(({ claims }) => claims.jti)).size).toBe(2);
  });

  it('asks for a new token once when one is refused in the middle, and then gives up', async () => {
    const { server, tokens, poll, intake } = await guarded('ES384');
    const usual = server.answer;
    let isRevoked = true;
    server.answer = (asked, ordinal) => {
      if (asked.url.searchParams.get('_page') === '1' && isRevoked) {
        isRevoked = false;
        return { status: 401 };
      }
      return usual?.(asked, ordinal);
    };
    await poll();
    expect(tokens.statements).toHaveLength(2);
    expect(intake.taken).toHaveLength(3);
    server.answer = () => ({ status: 401 });
    const before = server.asked.length;
    await expect(poll()).rejects.toMatchObject({ code: 'FHIR_DENIED' });
    expect(server.asked.length - before).toBe(2);
  });

  it.each([
    ['refuses the client', { status: 400, body: '{"error":"invalid_scope"}' }, 'FHIR_TOKEN_REFUSED'],
    ['is out of order', { status: 500, body: '架橋' }, 'FHIR_TOKEN_FAILED'],
    ['gives something else', { status: 200, body: '<html>' }, 'FHIR_TOKEN_FAILED'],
    [
      'gives a token with a line break',
      { status: 200, body: '{"access_token":"a\\r\\nb","token_type":"bearer"}' },
      'FHIR_TOKEN_FAILED',
    ],
  ])('says so when the token server %s, and asks the FHIR server nothing', async (_, answer, code) => {
    const { server, tokens, source } = await guarded('ES384');
    tokens.refusal = answer;
    const probe = await source.probe();
    expect(probe).toMatchObject({ ok: false, error: { code } });
    expect(JSON.stringify(probe)).not.toContain('架橋');
    expect(server.asked).toEqual([]);
  });

  it('refuses a key that does not fit, before anything is sent', async () => {
    const wrong = join(folder, 'wrong');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(wrong, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(await codeOf(await guarded('ES384', 'PEM', { key: { file: wrong } }))).toBe('FHIR_KEY_UNUSABLE');
    writeFileSync(wrong, 'hello');
    expect(await codeOf(await guarded('ES384', 'PEM', { key: { file: wrong } }))).toBe('FHIR_KEY_UNUSABLE');
  });
});

describe('TLS', () => {
  // Today: the certificates of a test are valid from yesterday on.
  const rigToday = (options: Record<string, unknown>) =>
    rig(options, undefined, new FakeClock(new Date().toISOString()));

  it('shows our certificate and trusts only the CA that was named', async () => {
    const { authority, server: pair, client } = await makeCertificates(folder);
    const server = withOne(await startServer({ tls: { ...pair, ca: authority.cert } }));
    const { poll, intake } = rigToday({ url: server.url, types, tls: client, since: '2026-01-01' });
    await poll();
    expect(intake.taken).toHaveLength(3);

    const { cert, key } = client;
    expect(await codeOf(rigToday({ url: server.url, types, tls: { cert, key } }))).toBe('TLS_SERVER_UNKNOWN');
    expect(await codeOf(rigToday({ url: server.url, types, tls: { ca: client.ca } }))).toBe('TLS_CLIENT_REFUSED');
    const expired = await authority.issue({ commonName: 'x', fromDay: -20, toDay: -10 });
    const old = await writeClient(folder, 'old', authority.cert, expired);
    expect(await codeOf(rigToday({ url: server.url, types, tls: old }))).toBe('TLS_CLIENT_EXPIRED');
  });

  it('goes through a proxy that sees only where to', async () => {
    const { authority, server: pair, client } = await makeCertificates(folder);
    const server = withOne(await startServer({ tls: { ...pair, ca: authority.cert } }));
    const proxy = closing(await ConnectProxy.start());
    const { poll, intake } = rigToday({
      url: server.url,
      types,
      tls: client,
      proxy: { url: `http://127.0.0.1:${proxy.port}` },
      since: '2026-01-01',
    });
    await poll();
    expect(intake.taken).toHaveLength(3);
    expect(proxy.asked).toContain(new URL(server.url).host);
  });
});
