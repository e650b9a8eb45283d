/**
 * What it costs to make records of resources, before anything is stored, by us or by the peer. Says
 * `{"resources": …, "cpuSeconds": …}`.
 *
 * - `ours`: a page of a search is checked and cut, each resource's facts are read, its keys among them.
 * - `peer`: lines of NDJSON are cut and parsed, written again and saved, by three streams, as bulk-data-client 1.2.1 of
 *   SMART Health IT does it. That client is in no registry, and its streams are rebuilt here from its source.
 *
 * `node child-cut.ts ours|peer RESOURCES REPEATS`
 */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readFacts } from '../../agent/source/fhir/facts.ts';
import { Naming } from '../../agent/source/fhir/patient.ts';
import { scanBundle } from '../../agent/source/fhir/scan.ts';
import { observationJson } from './fhir-pages.ts';
import { ParseLines, WriteLines } from './smart-streams.ts';

const pageResources = 1000;
/** As a file or a socket gives them. */
const chunkBytes = 64 * 1024;

const [side, count = '', repeats = ''] = process.argv.slice(2);
const resources = Array.from({ length: Number(count) }, (_, n) => observationJson(n, 1_795_000_000_000 + n * 1000));
const work = side === 'ours' ? ours() : peer();
await work();
const before = process.cpuUsage();
for (let repeat = 0; repeat < Number(repeats); repeat++) await work();
const { user, system } = process.cpuUsage(before);
const done = { resources: resources.length * Number(repeats), cpuSeconds: (user + system) / 1e6 };
process.stdout.write(`${JSON.stringify(done)}\n`);

function ours(): () => Promise<void> {
  const pages: Buffer[] = [];
  for (let from = 0; from < resources.length; from += pageResources) {
    const entries = resources.slice(from, from + pageResources).map((resource) => `{"resource":${resource}}`);
    pages.push(Buffer.from(`{"resourceType":"Bundle","type":"searchset","entry":[${entries.join(',')}]}`));
  }
  const base = new URL('https://ehr.example/fhir/');
  const naming = new Naming({
    source: 'ehr',
    base,
    patientId: { strip: 'none', ownAuthorities: [] },
    facility: undefined,
  });
  return async () => {
    for (const page of pages) {
      for (const entry of scanBundle(page).entries) readFacts(page, entry, { naming, categories: {} });
    }
  };
}

function peer(): () => Promise<void> {
  const file = Buffer.from(resources.join('\n'));
  const chunks = Array.from({ length: Math.ceil(file.length / chunkBytes) }, (_, n) =>
    file.subarray(n * chunkBytes, (n + 1) * chunkBytes),
  );
  return () => pipeline(Readable.from(chunks), new ParseLines(), new WriteLines(), createWriteStream('/dev/null'));
}
