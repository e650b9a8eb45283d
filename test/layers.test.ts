/**
 * Imports point down (docs/architecture.md, "Layers"). What must never fail - the gate, and commit before acknowledge -
 * exists once because nothing can reach around it; this test says so when it happens by accident.
 */
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { codeFiles, read, withoutComments } from './source-files.ts';

const ranks = [
  ['model'],
  ['base'],
  ['source', 'gate', 'buffer', 'parcel', 'ship', 'ledger'],
  ['flow', 'config', 'schedule', 'health'],
  ['app'],
  ['cli', 'console'],
  ['main'],
] as const;

/** What the producer's side may use of the agent's: a hospital's part must not be needed to receive from one. */
const producerMayUse = ['model', 'base', 'parcel'];

interface Import {
  readonly from: string;
  readonly to: string;
}

/** `agent/gate/register.ts` → `gate`; `agent/app.ts` → `app`; outside agent/ the top folder. */
function partOf(path: string): string {
  const [top = '', second = ''] = path.split('/');
  return top === 'agent' ? second.replace(/\.ts$/, '') : `/${top}`;
}

function rankOf(part: string): number {
  return ranks.findIndex((names) => (names as readonly string[]).includes(part));
}

function importsOf(path: string): string[] {
  const code = withoutComments(read(path));
  return [...code.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)'([^']+)'/g)].map(([, name = '']) => name);
}

function ownImports(...folders: readonly string[]): Import[] {
  return codeFiles(...folders).flatMap((from) =>
    importsOf(from)
      .filter((name) => name.startsWith('.'))
      .map((name) => ({ from, to: join(dirname(from), name) })),
  );
}

/** Undefined, or why this import must not be. */
function objection({ from, to }: Import): string | undefined {
  const [fromPart, toPart] = [partOf(from), partOf(to)];
  if (fromPart === toPart) return sourceObjection(from, to);
  // The version that is told to the producer has one home.
  if (to === 'package.json' && from === 'agent/base/version.ts') return undefined;
  if (toPart.startsWith('/')) return 'the agent is installed without what lies outside agent/';
  const [fromRank, toRank] = [rankOf(fromPart), rankOf(toPart)];
  if (fromRank < 0) return `agent/${fromPart} has no rank: give it one here and in docs/architecture.md`;
  if (toRank > fromRank) return 'imports point down: pass what is needed as an argument, from app.ts';
  if (toRank === fromRank)
    return 'folders of one rank do not know each other: share a type in model/, join them in flow/';
  return undefined;
}

/** One kind of peer must be removable: only the registry names them all. */
function sourceObjection(from: string, to: string): string | undefined {
  const kind = (path: string) =>
    path.startsWith('agent/source/') ? (path.split('/')[3] ? path.split('/')[2] : '') : '';
  if (kind(from) === kind(to) || kind(to) === '' || from === 'agent/source/registry.ts') return undefined;
  return 'a source is one folder and one line in source/registry.ts: what two kinds share lies in source/ or base/';
}

const complain = (found: readonly Import[], why: (each: Import) => string | undefined) =>
  found.flatMap((each) => {
    const reason = why(each);
    return reason ? [`${each.from} imports ${each.to}: ${reason}`] : [];
  });

it('has no import in agent/ that points up, sideways or out', () => {
  const found = ownImports('agent');
  expect(found.length).toBeGreaterThan(0);
  expect(complain(found, objection)).toEqual([]);
});

it('has a model that imports nothing but itself', () => {
  const outside = codeFiles('agent/model').flatMap((path) =>
    importsOf(path)
      .filter((name) => !name.startsWith('./'))
      .map((name) => `${path} imports ${name}: the vocabulary does no I/O and binds nobody to a library`),
  );
  expect(outside).toEqual([]);
});

it('has a producer that uses only the model, the base and the parcel format of agent/', () => {
  const reason = `the producer's side may import only ${producerMayUse.join(', ')} of agent/`;
  const allowed = ({ to }: Import) => to.startsWith('producer/') || producerMayUse.includes(partOf(to));
  expect(complain(ownImports('producer'), (each) => (allowed(each) ? undefined : reason))).toEqual([]);
});

it.each([
  ['agent/gate/gate.ts', 'agent/flow/accept.ts', 'point down'],
  ['agent/gate/gate.ts', 'agent/buffer/records.ts', 'one rank'],
  ['agent/cli/run.ts', 'agent/console/server.ts', 'one rank'],
  ['agent/flow/accept.ts', 'agent/app.ts', 'point down'],
  ['agent/app.ts', 'agent/cli/run.ts', 'point down'],
  ['agent/ship/upload.ts', 'producer/intake.ts', 'outside agent/'],
  ['agent/source/dicom/acceptor.ts', 'agent/source/hl7v2/framer.ts', 'one folder'],
  ['agent/new-part/thing.ts', 'agent/model/record.ts', 'no rank'],
])('would object to %s importing %s', (from, to, reason) => {
  expect(objection({ from, to })).toContain(reason);
});

it.each([
  ['agent/source/registry.ts', 'agent/source/hl7v2/index.ts'],
  ['agent/source/hl7v2/index.ts', 'agent/source/define.ts'],
  ['agent/flow/accept.ts', 'agent/gate/gate.ts'],
  ['agent/main.ts', 'agent/cli/run.ts'],
])('would let %s import %s', (from, to) => {
  expect(objection({ from, to })).toBeUndefined();
});
