import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../../agent/base/clock.ts';
import { FhirClient } from '../../../agent/source/fhir/client.ts';
import { searchPages } from '../../../agent/source/fhir/pages.ts';
import { Transport } from '../../../agent/source/fhir/transport.ts';
import { observation } from '../../peers/fhir/resources.ts';
import type { FhirServer } from '../../peers/fhir/server.ts';
import { startServer, stopAll } from './host.ts';

const transports: Transport[] = [];

afterEach(async () => {
  for (const transport of transports.splice(0)) await transport.close();
  await stopAll();
});

function pagesOf(server: FhirServer) {
  const transport = new Transport({ tls: { minVersion: 'TLSv1.3' }, clock: systemClock });
  transports.push(transport);
  const base = new URL(`${server.url}/`);
  const authorization = { header: () => Promise.resolve(undefined), renew: () => false };
  const options = { base, pageBytesMax: 1_000_000, timeoutMs: 10_000, clock: systemClock };
  const client = new FhirClient(options, transport, authorization);
  const { signal } = new AbortController();
  return searchPages(client, 'Observation', new URL('Observation?_count=1', base), signal);
}

/** A server of four pages, and who is told when the next question has arrived. */
async function fourPages(): Promise<{ server: FhirServer; asked: (ordinal: number) => Promise<void> }> {
  const server = await startServer();
  for (const id of ['o1', 'o2', 'o3', 'o4']) server.resources.push(observation({ id }));
  const arrivals = Array.from({ length: 6 }, () => Promise.withResolvers<void>());
  server.answer = (_, ordinal) => {
    arrivals[ordinal - 1]?.resolve();
    return undefined;
  };
  return { server, asked: (ordinal) => arrivals[ordinal - 1]?.promise ?? Promise.resolve() };
}

it('asks for the next page while one is taken, and for no more than that', async () => {
  const { server, asked } = await fourPages();
  const pages = pagesOf(server);
  expect((await pages.next()).value?.bundle.entries[0]?.id).toBe('o1');
  await asked(2);
  expect((await pages.next()).value?.bundle.entries[0]?.id).toBe('o2');
  await asked(3);
  expect(server.asked).toHaveLength(3);
  await pages.return(undefined);
  expect(server.asked).toHaveLength(3);
});

it('fails for a page that does not come only when its turn has come', async () => {
  const { server, asked } = await fourPages();
  server.edit = (draft) => void (draft.entries[0]?.resource.includes('"o2"') && (draft.next = 'http://other.example/'));
  const pages = pagesOf(server);
  expect((await pages.next()).done).toBe(false);
  await asked(2);
  await expect(pages.next()).rejects.toMatchObject({ code: 'FHIR_OTHER_ORIGIN' });
});
