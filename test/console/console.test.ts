import fc from 'fast-check';
import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import type { LocalServer } from '../../agent/base/local-server.ts';
import { formatHostPort } from '../../agent/base/options.ts';
import { consoleServer } from '../../agent/console/index.ts';
import { html } from '../../agent/console/html.ts';
import { languages, preferredLanguage } from '../../agent/console/language.ts';
import { readerOf } from '../../agent/console/reader.ts';
import { statusPage } from '../../agent/console/status-page.ts';
import type { Status, StatusInputs } from '../../agent/health/index.ts';
import { isError } from '../../agent/model/errors.ts';
import { healthy, now, statusWith } from '../health/sample-status.ts';

const KiB = 1024;
const [source, producer] = [healthy().sources[0] ?? fail(), healthy().producers[0] ?? fail()];
const servers: LocalServer[] = [];
afterEach(() => Promise.all(servers.splice(0).map((server) => server.stop())));

async function serve(status: Status = statusWith()): Promise<number> {
  const server = consoleServer(() => status);
  servers.push(server);
  return (await server.listen({ host: '127.0.0.1', port: 0 })).port;
}

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

async function ask(
  port: number,
  path: string,
  { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const asked = request({ host: '127.0.0.1', port, path, method, headers }).end();
  const answer = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve));
  return { code: answer.statusCode ?? 0, body: await text(answer), headers: answer.headers };
}

async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(bytes);
  return text(socket);
}

describe('the console', () => {
  it('is one page and what it needs, nothing from elsewhere and no script', async () => {
    const port = await serve();
    const { code, body, headers } = await ask(port, '/');
    expect(code).toBe(200);
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    expect(body).not.toMatch(/<script|<style|\son\w+=|\sstyle=|https?:/);
    for (const [, link = ''] of body.matchAll(/(?:href|src)="([^"]+)"/g))
      expect((await ask(port, link)).code, link).toBe(200);
    expect((await ask(port, '/console.css')).headers['content-type']).toBe('text/css; charset=utf-8');
    expect((await ask(port, '/icon-ok.svg')).headers['content-type']).toBe('image/svg+xml');
  });

  it('lets a browser load nothing else, frame it, keep it or tell of it', async () => {
    const { headers } = await ask(await serve(), '/');
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; style-src 'self'; img-src 'self';.*frame-ancestors 'none'$/,
      ),
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
    expect(headers).not.toHaveProperty('refresh');
  });

  it('answers HEAD as GET without the page', async () => {
    const port = await serve();
    const { code, body, headers } = await ask(port, '/', { method: 'HEAD' });
    expect({ code, body }).toEqual({ code: 200, body: '' });
    expect(headers['content-length']).toBe((await ask(port, '/')).headers['content-length']);
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE'])(
    'has nothing to change: %s is refused',
    async (method) => {
      const { code, headers } = await ask(await serve(), '/', { method });
      expect({ code, allow: headers.allow }).toEqual({ code: 405, allow: 'GET, HEAD' });
    },
  );

  it.each(['/status', '/../etc/passwd', '//evil.example/', '/icon-evil.svg', '/index.html', '/%2e%2e/'])(
    'has no page %s',
    async (path) => {
      const { code, body } = await ask(await serve(), path);
      expect(code).toBe(404);
      expect(body).toContain('ページがありません');
    },
  );

  it.each([`/?lang=fr`, '/?lang=', `/?${'x'.repeat(300)}`, 'http://127.0.0.1/'])(
    'does not understand %s',
    async (path) => {
      expect((await ask(await serve(), path)).code).toBe(400);
    },
  );

  it('does not understand what is not HTTP, or has no host', async () => {
    const port = await serve();
    expect(await raw(port, 'hello\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(port, 'GET / HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(port, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1.1 421 /);
    expect(await raw(port, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 /,
    );
  });

  it.each([
    'evil.example',
    'evil.example:8420',
    '127.0.0.1.evil.example',
    'localhost.',
    '192.0.2.1',
    'user@localhost',
    '[::2]',
  ])('does not answer a web page that calls this machine %s', async (host) => {
    const { code, body } = await ask(await serve(), '/', { headers: { Host: host } });
    expect(code).toBe(421);
    expect(body).toMatch(/^HOST_REFUSED {2}/);
    expect(body).not.toContain('ehr-feed');
  });

  it.each(['127.0.0.1', 'localhost', '[::1]', 'localhost:18420'])(
    'answers as %s, at whatever port a tunnel ends',
    async (host) => {
      expect((await ask(await serve(), '/', { headers: { Host: host } })).code).toBe(200);
    },
  );

  it('does not listen for other machines, and says when its port is taken', async () => {
    const unavailable = expect.toSatisfy((error) => isError(error, 'CONSOLE_UNAVAILABLE'));
    const port = await serve();
    for (const address of [
      { host: '0.0.0.0', port: 0 },
      { host: '::', port: 0 },
      { host: '127.0.0.1', port },
    ])
      await expect(consoleServer(() => statusWith()).listen(address), formatHostPort(address)).rejects.toEqual(
        unavailable,
      );
  });

  it('hangs up on whoever never comes to the end of a request, byte by byte or not at all', async () => {
    const port = await serve();
    const [slow, silent] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    for (const socket of [slow, silent]) socket.on('error', () => undefined).resume();
    slow.write('GET / HTTP/1.1\r\nHost: localhost\r\n');
    const drip = setInterval(() => slow.write('X-A: b\r\n'), 200);
    await Promise.all([once(slow, 'close'), once(silent, 'close')]);
    clearInterval(drip);
    expect((await ask(port, '/')).code).toBe(200);
  });

  it('lets no more than sixteen wait at once', async () => {
    const port = await serve();
    const waiting = Array.from({ length: 16 }, () => connect(port, '127.0.0.1'));
    for (const socket of waiting) socket.on('error', () => undefined).resume();
    await Promise.all(waiting.map((socket) => once(socket, 'connect')));
    expect(await raw(port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n').catch(() => '')).toBe('');
  });
});

describe('the language', () => {
  it.each([
    [undefined, 'ja'],
    ['', 'ja'],
    ['en', 'en'],
    ['en-US,en;q=0.9,ja;q=0.8', 'en'],
    ['ja-JP,ja;q=0.9,en;q=0.8', 'ja'],
    ['fr,en;q=0.5,ja;q=0.7', 'ja'],
    ['fr', 'ja'],
    ['ja;q=0,en', 'en'],
    ['EN-gb', 'en'],
    ['en;q=abc', 'en'],
    [','.repeat(1_000), 'ja'],
  ])('for %j is %s', (header, language) => {
    expect(preferredLanguage(header)).toBe(language);
  });

  it('is said in the page and its headers, and ?lang= has the last word', async () => {
    const port = await serve();
    const english = await ask(port, '/', { headers: { 'Accept-Language': 'en' } });
    expect(english.headers).toMatchObject({ 'content-language': 'en', vary: 'Accept-Language' });
    expect(english.body).toContain('<html lang="en">');
    expect(english.body).toContain('There is nothing to do.');
    const japanese = await ask(port, '/?lang=ja', { headers: { 'Accept-Language': 'en' } });
    expect(japanese.body).toContain('<html lang="ja">');
    expect(japanese.body).toContain('対応は不要です。');
  });
});

const plain = (page: string) => page.replaceAll(/<[^>]+>/g, ' ').replaceAll(/\s+/g, ' ');

describe('the template', () => {
  const meant: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

  it('writes whatever is filled in so that it is read as it was, and never as markup', () => {
    const nasty = fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', '&lt;', 'a', '$', '架') });
    fc.assert(
      fc.property(nasty, (given) => {
        const written = html`<a title="${given}">`.text.slice('<a title="'.length, -'">'.length);
        expect(written).not.toMatch(/[<>"']/);
        expect(written.replaceAll(/&([#\w]+);/g, (_, name: string) => meant[name] ?? '')).toBe(given);
      }),
    );
  });

  it('puts markup of its own in as it is, lists in order, and nothing for nothing', () => {
    expect(html`<p>${html`<b>${'&'}</b>`}${[html`1`, html`2`]}${undefined}${0}</p>`.text).toBe(
      '<p><b>&amp;</b>120</p>',
    );
  });
});

describe('the status page', () => {
  it('tells what is held, for how long, and that it is encrypted and not provided', () => {
    const page = plain(statusPage(statusWith(), readerOf('ja')));
    expect(page).toContain('123 院内保留・暗号化・未提供');
    expect(page).toContain('最初の破棄予定日 2026-12-05 (12 日後)');
    expect(page).toContain('通知後の待機日数がまだ過ぎていない 100');
    expect(plain(statusPage(statusWith(), readerOf('en')))).toContain('123 In the hospital · encrypted · not provided');
  });

  it('tells sources, queue, last receipt, register, clock, disk, certificates and ledger', () => {
    const page = plain(statusPage(statusWith(), readerOf('en')));
    for (const fact of [
      'ehr-feed hl7v2 OK Last success 2026-11-23 22:29 (1 minute ago) Silent for 1 minute (usual: up to 2 minutes) Port 2575',
      'To send Text 1,234 · Images 56',
      'Oldest waiting 2026-11-23 20:30 (2 hours ago)',
      'Last receipt opened, parcel 25 2026-11-23 21:30 (60 minutes ago)',
      'Register of notices fresh 2026-11-23 17:30 (5 hours ago)',
      'Clock trusted 0 s from the producer',
      'Disk enough space 80 GB free of 100 GB',
      'Disk full in about 40 days',
      'Certificate client ldi until 2027-02-21 (in 90 days)',
      'Ledger 4,711 entries',
      'opened by the producer 98,765',
      'Version 0.1.0',
    ])
      expect(page).toContain(fact);
  });

  it('says what to do, most urgent first, with the code and whose work it is', () => {
    const status = statusWith({ quarantined: 2, sources: [{ ...source, code: 'FILE_UNREADABLE' }] });
    const page = statusPage(status, readerOf('en'));
    expect(plain(page)).toMatch(
      /What to do.*The source ehr-feed fails \( FILE_UNREADABLE \).*Whose work: Hospital IT.*2 record\(s\)/,
    );
    expect(page).toContain('<code>FILE_UNREADABLE</code>');
    expect(page).toContain('<code>kakehashi quarantine list</code>');
  });

  it('says that the power may go, and what goes on afterwards', () => {
    const jobs = [{ name: 'pull pacs', missed: 0, running: true, paused: false }];
    expect(plain(statusPage(statusWith({ jobs }), readerOf('en')))).toMatch(
      /Yes, at any time\..*goes on from where it stopped.*pull pacs/,
    );
    expect(plain(statusPage(statusWith(), readerOf('en')))).toContain('Nothing is under way just now.');
  });

  it('is whole before anything is configured or known', () => {
    const empty: Partial<StatusInputs> = {
      sources: [],
      producers: [],
      jobs: [],
      certificates: [],
      register: { fresh: false },
    };
    const page = plain(statusPage(statusWith(empty), readerOf('en')));
    expect(page).toContain('No source is configured yet.');
    expect(page).toContain('No producer is configured yet.');
  });

  it('stays small: 8 KiB for a hospital, 192 KiB for the largest configuration there may be', () => {
    const names = (count: number) =>
      Array.from({ length: count }, (_, n) => `${'n'.repeat(30)}${String(n).padStart(2, '0')}`);
    const [sources, producers] = [names(64), names(16)];
    const jobs = [...sources.map((name) => `pull ${name}`), ...producers.map((name) => `ship ${name}`)];
    const failing = { lastCode: 'JOB_FAILED', missed: 3, running: true, paused: false, nextDue: now } as const;
    const largest = statusWith({
      sources: sources.map((name) => ({ ...source, name, code: 'FILE_UNREADABLE' })),
      producers: producers.map((name) => ({ ...producer, name, code: 'PRODUCER_REFUSED', oldestUnopenedAt: 0 })),
      jobs: jobs.map((name) => ({ name, ...failing })),
      certificates: producers.map((name) => ({ name, notAfter: now })),
    });
    for (const reader of languages.map(readerOf)) {
      expect(Buffer.byteLength(statusPage(statusWith(), reader))).toBeLessThan(8 * KiB);
      expect(Buffer.byteLength(statusPage(largest, reader))).toBeLessThan(192 * KiB);
    }
  });
});

function fail(): never {
  throw new Error('the sample has one');
}
