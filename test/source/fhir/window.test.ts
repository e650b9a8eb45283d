import { afterEach, describe, expect, it } from 'vitest';
import { ConnectorError } from '../../../agent/model/errors.ts';
import { dayMs, hourMs, minuteMs } from '../../base/fake-clock.ts';
import { bufferFull, type TestIntake } from '../../conformance/intake.ts';
import { condition, observation, patient } from '../../peers/fhir/resources.ts';
import type { FhirServer, RawAnswer, StoredResource } from '../../peers/fhir/server.ts';
import { passTime, rig, type Rig, startServer, stopAll } from './host.ts';

afterEach(stopAll);

/** Observations one minute apart, the last an hour before the server's time. */
function series(server: FhirServer, count: number): StoredResource[] {
  const made = Array.from({ length: count }, (_, index) => {
    return observation({ id: `o${index}`, changedAt: server.now - hourMs - (count - index) * minuteMs });
  });
  server.resources.push(...made);
  return made;
}

/** Short stretches of time, so that halving ends soon; `since` lies a day before the resources. */
const quick = { types: ['Observation'], since: '2026-11-22', windowMax: '2d', overlap: '10m' };

function keys(intake: TestIntake): string[] {
  return [...new Set(intake.taken.map(({ facts }) => facts.nativeKey))].toSorted();
}

function expectExact(intake: TestIntake, resources: readonly StoredResource[]): void {
  const sent = new Map(resources.map(({ type, id, bytes }) => [`${type}/${id}`, bytes.toString()]));
  expect(keys(intake)).toEqual([...sent.keys()].toSorted());
  for (const { facts, bytes } of intake.taken) expect(bytes.toString()).toBe(sent.get(facts.nativeKey));
}

function cursorOf(intake: TestIntake): string | undefined {
  const found = intake.state('cursor', 'Observation');
  return found && new Date(found.mark).toISOString();
}

/** Polls while time passes, and gives the failure. */
async function failure({ clock, poll }: Rig): Promise<ConnectorError> {
  const error: unknown = await passTime(clock, poll(), 250).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConnectorError);
  return error as ConnectorError;
}

/** Questions of a window, without those that ask what the server can do. */
function windowed(server: FhirServer): URL[] {
  return server.searches('Observation').filter(({ search }) => !search.includes('2999'));
}

describe('a server that tells what changed', () => {
  it.each(['compact', 'pretty', 'crlf', 'bom'] as const)(
    'is read page by page, byte for byte, from a %s Bundle',
    async (layout) => {
      const server = await startServer({ layout, gzip: layout !== 'bom' });
      const resources = [...series(server, 7), condition({ id: 'c1' }), patient({ id: 'p1', number: '1' })];
      server.resources.push(...resources.slice(-2));
      const { poll, intake } = rig({ url: server.url, count: 3, since: '2026-01-01' });
      expect(await poll()).toEqual({
        offered: 9,
        outcomes: { kept: 9, held: 0, refused: 0, quarantined: 0, duplicate: 0 },
        complete: true,
      });
      expectExact(intake, resources);
    },
  );

  it('is asked for closed windows only, in order, that end some time before its own clock', async () => {
    const server = await startServer();
    server.now += 3 * minuteMs;
    const { poll, intake } = rig({ url: server.url, ...quick, lag: '122s' });
    await poll();
    expect(windowed(server).map(({ search }) => search)).toEqual([
      '?_lastUpdated=ge2026-11-22T00:00:00.000Z&_lastUpdated=lt2026-11-23T01:16:28.000Z&_sort=_lastUpdated&_count=500',
    ]);
    expect(cursorOf(intake)).toBe('2026-11-23T01:16:28.000Z');
  });

  it('is read again from a little before the last end, so that what was committed late is found', async () => {
    const server = await startServer();
    const late = observation({ id: 'late', changedAt: server.now - 5 * minuteMs });
    const { poll, intake, clock } = rig({ url: server.url, ...quick });
    await poll();
    server.resources.push(late);
    server.now += hourMs;
    clock.step(hourMs);
    await poll();
    expectExact(intake, [late]);
    expect(windowed(server)[1]?.search).toContain('ge2026-11-23T01:03:28.000Z');
  });

  it('takes what was included, and nothing the server says about the search', async () => {
    const server = await startServer();
    const [first] = series(server, 1) as [StoredResource];
    server.edit = (draft) => {
      const outcome = '{"resourceType":"OperationOutcome","issue":[]}';
      if (draft.entries.length === 0) return;
      draft.entries.push({ resource: patient({ id: 'p1' }).bytes, mode: 'include' });
      draft.entries.push({ resource: Buffer.from(outcome), mode: 'outcome' });
    };
    const { poll, intake } = rig({ url: server.url, ...quick });
    expect(await poll()).toMatchObject({ offered: 2 });
    expectExact(intake, [first, patient({ id: 'p1' })]);
  });

  it('leaves the cursor where it was when any page is refused, and takes everything next time', async () => {
    for (let refused = 1; refused <= 4; refused++) {
      const server = await startServer();
      const resources = series(server, 10);
      const { poll, intake, again } = rig({ url: server.url, ...quick, count: 3 });
      let pages = 0;
      intake.failure = ({ records }) => (records.length > 0 && ++pages === refused ? bufferFull() : undefined);
      await expect(poll()).rejects.toMatchObject({ code: 'BUFFER_FULL' });
      expect(cursorOf(intake)).toBeUndefined();
      intake.failure = undefined;
      await (await again()).poll();
      expectExact(intake, resources);
      expect(cursorOf(intake)).toBe('2026-11-23T01:13:28.000Z');
    }
  });

  it('commits the cursor with the last page and not with one before', async () => {
    const server = await startServer();
    series(server, 5);
    const { poll, intake } = rig({ url: server.url, ...quick, count: 2 });
    await poll();
    expect(intake.offers.filter(({ records }) => records > 0).map(({ states }) => states)).toEqual([0, 0, 1]);
  });

  it('halves a window that holds too much, and widens again', async () => {
    const server = await startServer();
    const resources = series(server, 6);
    // Says so of every window longer than two hours; what it has is then few.
    server.edit = (draft, { url }) => {
      const [from = 0, to = 0] = url.searchParams.getAll('_lastUpdated').map((bound) => Date.parse(bound.slice(2)));
      if (to - from > 2 * hourMs && draft.next) draft.total = 1_000_000;
    };
    const { poll, intake } = rig({ url: server.url, ...quick, count: 2 });
    await poll();
    expectExact(intake, resources);
    expect(windowed(server).length).toBeGreaterThan(6);
    expect(cursorOf(intake)).toBe('2026-11-23T01:13:28.000Z');
  });

  it('tells that its clock and ours differ, and goes by its own', async () => {
    const server = await startServer();
    server.now += 20_000;
    const { poll, events } = rig({ url: server.url, ...quick });
    await poll();
    expect(events).toContainEqual(
      expect.objectContaining({ name: 'source.clock-differs', numbers: { skewMs: 20_000 } }),
    );
    expect(windowed(server).at(-1)?.search).toContain('lt2026-11-23T01:13:48.000Z');
  });
});

describe('a server that pages wrongly', () => {
  type Breaking = (server: FhirServer) => void;
  const faults: readonly (readonly [string, Breaking])[] = [
    ['goes round in a circle', (server) => void (server.edit = (draft, { url }) => void (draft.next &&= url.href))],
    [
      'gives empty pages for ever',
      (server) => {
        let ordinal = 0;
        server.edit = (draft, { url }) => {
          if (!url.searchParams.has('_page')) return;
          draft.entries = [];
          draft.next = `${url.href}&x=${++ordinal}`;
        };
      },
    ],
    [
      'gives the same page again under another address',
      (server) => {
        let ordinal = 0;
        server.edit = (draft, { url }) => {
          const first = server.resources.slice(0, 2).map(({ bytes }) => ({ resource: bytes }));
          if (!draft.next) return;
          draft.entries = first;
          draft.next = `${url.origin}${url.pathname}${url.search}&x=${++ordinal}`;
        };
      },
    ],
    ['forgets the link to the next page', (server) => void (server.edit = (draft) => void (draft.next = undefined))],
  ];

  it.each(faults)('and %s is asked for shorter windows until each fits on a page', async (_, breaking) => {
    const server = await startServer();
    const resources = series(server, 5);
    breaking(server);
    const { poll, intake } = rig({ url: server.url, ...quick, count: 2 });
    expect(await poll()).toMatchObject({ complete: true });
    expectExact(intake, resources);
    expect(intake.gaps).toEqual(new Map());
  });

  it('leaves a gap for the second in which it has more than it gives, and the gap is closed once it is mended', async () => {
    const server = await startServer();
    const changedAt = server.now - hourMs;
    const resources = ['a', 'b', 'c'].map((id) => observation({ id, changedAt }));
    server.resources.push(...resources);
    series(server, 2);
    server.edit = (draft) => void (draft.next = undefined);
    const { poll, intake, clock } = rig({ url: server.url, ...quick, count: 2 });
    await poll();
    expect([...intake.gaps.values()]).toEqual(['INCOMPLETE']);
    expect(keys(intake)).toEqual(['Observation/a', 'Observation/b', 'Observation/o0', 'Observation/o1']);
    expect(cursorOf(intake)).toBe('2026-11-23T01:13:28.000Z');

    server.edit = undefined;
    clock.step(2 * hourMs);
    await poll();
    expect(intake.gaps).toEqual(new Map());
    expectExact(intake, server.resources);
  });

  it('fails by its name when it does so everywhere, instead of leaving gaps without end', async () => {
    const server = await startServer();
    const at = (index: number) => server.now - hourMs - index * 10 * minuteMs;
    for (let index = 0; index < 20; index++) {
      server.resources.push(
        observation({ id: `${index}a`, changedAt: at(index) }),
        observation({ id: `${index}b`, changedAt: at(index) }),
      );
    }
    server.edit = (draft) => void (draft.next = undefined);
    const { poll, intake, events } = rig({ url: server.url, ...quick, count: 1 });
    await expect(poll()).rejects.toMatchObject({ code: 'FHIR_PAGING_BROKEN' });
    expect(intake.gaps.size).toBe(16);
    expect(events).toContainEqual(expect.objectContaining({ name: 'source.failed', word: 'Observation' }));
  });

  it('may repeat entries between pages and give one empty page before the end', async () => {
    const server = await startServer();
    const resources = series(server, 4);
    server.edit = (draft, { url }) => {
      const isSecond = url.searchParams.get('_page') === '1';
      if (isSecond) draft.entries.unshift({ resource: (resources[1] as StoredResource).bytes });
      if (isSecond) draft.next = `${url.href}&_more=1`;
      if (url.searchParams.has('_more')) Object.assign(draft, { entries: [], next: undefined });
    };
    const { poll, intake } = rig({ url: server.url, ...quick, count: 2 });
    await poll();
    expectExact(intake, resources);
    expect(intake.gaps).toEqual(new Map());
  });
});

describe('a page that cannot be taken', () => {
  /** Spoils one resource of a page, wherever it is asked for. */
  function spoil(server: FhirServer, id: string, spoiled: Buffer): void {
    server.edit = (draft) => {
      draft.entries = draft.entries.map((entry) =>
        entry.resource.includes(`"id":"${id}"`) ? { ...entry, resource: spoiled } : entry,
      );
    };
  }

  it.each([
    ['is not JSON', Buffer.from('{"resourceType":"Observation","id":"o2","value":01}')],
    [
      'is not UTF-8',
      Buffer.concat([Buffer.from('{"resourceType":"Observation","x":"'), Buffer.from([0xb0, 0xa1]), Buffer.from('"}')]),
    ],
    [
      'is larger than a page may be',
      Buffer.from(`{"resourceType":"Observation","id":"o2","x":"${'A'.repeat(70_000)}"}`),
    ],
  ])('because one resource %s leaves a gap for that one alone', async (_, spoiled) => {
    const server = await startServer();
    const resources = series(server, 5);
    spoil(server, 'o2', spoiled);
    const { poll, intake } = rig({ url: server.url, ...quick, maxPage: '64K' });
    await poll();
    expectExact(
      intake,
      resources.filter(({ id }) => id !== 'o2'),
    );
    expect([...intake.gaps]).toEqual([[expect.stringContaining('Observation 2026-11-23T'), 'INCOMPLETE']]);
  });

  it('because many together are too large is asked for in smaller pages', async () => {
    const server = await startServer();
    const changedAt = server.now - hourMs;
    const big = `,"note":[{"text":"${'A'.repeat(20_000)}"}]`;
    server.resources.push(...['a', 'b', 'c', 'd', 'e'].map((id) => observation({ id, changedAt, more: big })));
    const { poll, intake } = rig({ url: server.url, ...quick, maxPage: '64K' });
    await poll();
    expectExact(intake, server.resources);
    expect(intake.gaps).toEqual(new Map());
  });

  const html: RawAnswer = { headers: { 'content-type': 'text/html' }, body: '<html>架橋 太郎</html>' };
  it.each<[string, RawAnswer, string]>([
    ['HTML', html, 'FHIR_ANSWER_INVALID'],
    ['JSON of its own', { body: '{"message":"maintenance"}' }, 'FHIR_ANSWER_INVALID'],
    ['a Bundle of another kind', { body: '{"resourceType":"Bundle","type":"collection"}' }, 'FHIR_ANSWER_INVALID'],
    [
      'gzip that ends too early',
      { headers: { 'content-encoding': 'gzip' }, body: Buffer.from('1f8b08', 'hex') },
      'FHIR_ANSWER_INVALID',
    ],
    ['another packing', { headers: { 'content-encoding': 'br' }, body: 'x' }, 'FHIR_ANSWER_INVALID'],
    ['a connection cut in the middle', { body: '{"resourceType":"Bundle","entry":[]}', cutAfter: 9 }, 'NET_CUT'],
    ['a fault', { status: 500, body: 'java.lang.NullPointerException: 架橋 太郎' }, 'FHIR_FAILED'],
    ['a redirect', { status: 302, headers: { location: 'https://elsewhere.example/' } }, 'FHIR_REDIRECTED'],
    ['that it does not let us', { status: 403 }, 'FHIR_DENIED'],
  ])('because the server answers with %s is not taken, and no gap is made of it', async (_, answer, code) => {
    const server = await startServer();
    series(server, 2);
    const made = rig({ url: server.url, ...quick });
    server.answer = ({ url }) => (windowed(server).some(({ href }) => href === url.href) ? answer : undefined);
    const error = await failure(made);
    expect(error.code).toBe(code);
    expect(JSON.stringify([error.message, error.details, made.events])).not.toContain('架橋');
    expect(made.intake.taken).toEqual([]);
    expect(made.intake.gaps).toEqual(new Map());
    expect(cursorOf(made.intake)).toBeUndefined();
  });

  it('because the server stays silent is given up after a while', async () => {
    const server = await startServer();
    const made = rig({ url: server.url, ...quick });
    server.answer = () => 'silence';
    expect((await failure(made)).code).toBe('NET_STALLED');
  });

  it('is asked for again where the server recovers in the middle', async () => {
    const server = await startServer();
    const resources = series(server, 5);
    const { poll, intake, clock } = rig({ url: server.url, ...quick, count: 2 });
    const left = [{ status: 500 }, { status: 503 }, { cutAfter: 20, body: '{"resourceType":"Bundle","entry":[]}' }];
    server.answer = ({ url }) => (url.searchParams.has('_page') ? left.pop() : undefined);
    await passTime(clock, poll());
    expectExact(intake, resources);
    expect(left).toEqual([]);
  });

  it('does not keep other types from being read', async () => {
    const server = await startServer();
    const resources = [condition({ id: 'c1' }), condition({ id: 'c2' })];
    server.resources.push(...resources);
    series(server, 2);
    const made = rig({ url: server.url, since: '2026-11-01', types: ['Observation', 'Condition'] });
    server.answer = ({ url }) => (windowed(server).some(({ href }) => href === url.href) ? { status: 404 } : undefined);
    expect((await failure(made)).code).toBe('FHIR_REFUSED');
    expectExact(made.intake, resources);
    const again = await made.again();
    server.answer = undefined;
    await again.poll();
    expectExact(made.intake, server.resources);
  });
});

describe('a poll', () => {
  it('is broken off between pages when it is told to, and says that it was', async () => {
    const server = await startServer();
    const resources = series(server, 6);
    const { poll, intake, source } = rig({ url: server.url, ...quick, count: 2 });
    const aborting = new AbortController();
    intake.failure = () => void (intake.taken.length >= 2 && aborting.abort());
    expect(await poll(aborting.signal)).toMatchObject({ complete: false });
    expect(cursorOf(intake)).toBeUndefined();
    intake.failure = undefined;
    expect(await poll()).toMatchObject({ complete: true });
    expectExact(intake, resources);
    await source.stop();
  });

  it('asks what the server offers once a day', async () => {
    const server = await startServer();
    const { poll, clock } = rig({ url: server.url, ...quick, since: '2026-11-22' });
    const statements = () => server.asked.filter(({ url }) => url.pathname.endsWith('/metadata')).length;
    await poll();
    await poll();
    expect(statements()).toBe(1);
    clock.step(dayMs);
    server.now += dayMs;
    await poll();
    expect(statements()).toBe(2);
  });
});
