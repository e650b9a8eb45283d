/**
 * House rules that a compiler and a linter cannot know. Each has its reason, and each exception has one of its own;
 * an exception that nothing needs any more fails as well.
 */
import { basename } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { codeFiles, read, repositoryFiles, withoutComments } from './source-files.ts';

interface Rule {
  readonly title: string;
  readonly pattern: RegExp;
  readonly files: readonly string[];
  readonly reason: string;
  /** Path → why it may. */
  readonly except?: Readonly<Record<string, string>>;
  /** Also in comments and strings as they stand. */
  readonly comments?: boolean;
}

const product = codeFiles('agent', 'producer');
// This file holds what it forbids.
const self = 'test/house.test.ts';
const allCode = codeFiles('agent', 'producer', 'test').filter((path) => path !== self);
const ownTexts = repositoryFiles().filter(
  (path) => path !== 'package-lock.json' && !/(^|\/)(fixtures|vectors)\/|\.(png|ico|svg|age|dcm)$/.test(path),
);

const rules: readonly Rule[] = [
  {
    title: 'leaves no note to do something later',
    pattern: /\b(TODO|FIXME|XXX|HACK)\b/,
    files: allCode,
    comments: true,
    reason: 'what is to be done is written where it can be seen and closed',
  },
  {
    title: 'asks no clock but its own for the time',
    pattern: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bprocess\.hrtime\b/,
    files: product,
    reason: 'whoever reads the time is given a Clock, so that tests can move it and nothing trusts it by accident',
    except: { 'agent/base/clock.ts': 'it is the clock' },
  },
  {
    title: 'sets no timer outside the clock',
    pattern: /\b(setTimeout|setInterval)\b(?!\()|(?<![.\w])(setTimeout|setInterval)\(|node:timers/,
    files: product,
    // `socket.setTimeout(…)` and `AbortSignal.timeout(…)` are bounds of one request and not a schedule.
    reason: 'whoever waits is given a Clock: a timer of its own survives a stop and cannot be tested',
    except: { 'agent/base/clock.ts': 'it is the clock' },
  },
  {
    title: 'writes nothing past the log',
    pattern: /\bconsole\.\w+\(/,
    files: product,
    reason: 'a line that no typed event made may carry a patient',
  },
  {
    title: 'has no `any`',
    pattern: /(:|\bas|<|\||,)\s*any\b(?!\w|')|\bany\[\]/,
    files: allCode.filter((path) => path.endsWith('.ts')),
    reason: 'it switches off the check of everything it touches',
  },
  {
    title: 'opens a database in one place only',
    pattern: /\bnew Database\(/,
    files: product,
    reason: 'without synchronous=FULL, set and read back, an acknowledged message can vanish',
    except: {
      'agent/base/database.ts': 'it is the place',
      'agent/base/lock.ts': 'the lock is a database that holds nothing',
    },
  },
  {
    title: 'switches no test off and singles none out',
    // The words that this rule looks for; they switch nothing here.
    pattern: /\b(it|test|describe)\.(skip|only|todo|skipIf|runIf|fails)\b/,
    files: allCode.filter((path) => path.startsWith('test/')),
    reason: 'a green run must mean that everything ran',
    except: {
      'test/installers/linux.test.ts':
        'where the kernel forbids the mounts of a container, that refusal is told and tested',
    },
  },
  {
    title: 'names no package registry and no path of one machine',
    pattern:
      /registry\.(npmjs|yarnpkg|npmmirror)|deb\.debian\.org|(?<![\w.~$}-])\/(work|farm|root|Users|home\/\w+)\/\w/,
    files: ownTexts.filter((path) => path !== self),
    comments: true,
    reason: 'what works on one machine only must not be in the repository',
  },
];

describe('the code', () => {
  it.each(rules)('$title', ({ pattern, files, reason, except = {}, comments = false }) => {
    expect(files.length).toBeGreaterThan(0);
    const found = files.flatMap((path) => linesWith(pattern, path, comments));
    const breaches = found
      .filter(({ path }) => !(path in except))
      .map(({ path, line }) => `${path}:${line}: ${reason}`);
    const unneeded = Object.keys(except).filter((path) => !found.some((each) => each.path === path));
    expect(breaches).toEqual([]);
    expect(unneeded).toEqual([]);
  });

  it('has no file over 600 lines', () => {
    const known: Record<string, string> = {
      'agent/model/errors.ts': 'one table, looked up by code and not read through',
    };
    const long = allCode.filter((path) => read(path).split('\n').length > 601);
    expect(long.filter((path) => !(path in known))).toEqual([]);
  });

  it('names its files in kebab-case', () => {
    const kebab = /^\.?[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*$/;
    const wellKnown = [
      'README.md',
      'CHANGELOG.md',
      'SECURITY.md',
      'CONTRIBUTING.md',
      'LICENSE',
      'NOTICE',
      'Dockerfile',
    ];
    const odd = ownTexts.map((path) => basename(path)).filter((name) => !kebab.test(name) && !wellKnown.includes(name));
    expect(odd).toEqual([]);
  });
});

describe('the dependencies', () => {
  interface Locked {
    readonly resolved?: string;
    readonly integrity?: string;
    readonly hasInstallScript?: boolean;
    readonly optional?: boolean;
    readonly os?: string | readonly string[];
    readonly cpu?: string | readonly string[];
    readonly libc?: readonly string[] | string;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  }
  const lock: { readonly packages: Readonly<Record<string, Locked>> } = JSON.parse(read('package-lock.json'));
  const locked = Object.entries(lock.packages);

  it('are locked by digest and not by host', () => {
    // Binaries of tools for other platforms may lack a digest: a registry that does not carry them cannot tell it, and
    // without their entry npm ci refuses the whole file.
    const isOurs = ({ os = '', cpu = '', libc = 'glibc' }: Locked) =>
      [os].flat().includes('linux') &&
      ['x64', 'arm64'].some((each) => [cpu].flat().includes(each)) &&
      libc.includes('glibc');
    const isForeign = (entry: Locked) => entry.optional && !isOurs(entry);
    const bare = locked.filter(([path, entry]) => path !== '' && !entry.integrity && !isForeign(entry));
    expect(bare.map(([path]) => path)).toEqual([]);
    expect(locked.filter(([, { resolved }]) => resolved)).toEqual([]);
  });

  it('are locked for every platform, as npm ci demands', () => {
    const names = new Set(locked.map(([path]) => path.replace(/^.*node_modules\//, '')));
    const asked = locked.flatMap(([, { optionalDependencies }]) => Object.keys(optionalDependencies ?? {}));
    expect(asked.filter((name) => !names.has(name))).toEqual([]);
  });

  it('have no install script that is needed: test/setup.mjs runs none', () => {
    const known: Record<string, string> = {
      'node_modules/core-js-pure': 'prints a request for donations',
      'node_modules/fsevents': 'macOS only, optional, used by nothing we run',
    };
    const scripted = locked.filter(([, entry]) => entry.hasInstallScript).map(([path]) => path);
    expect(scripted.filter((path) => !(path in known))).toEqual([]);
  });

  it('have exact versions', () => {
    const manifest: Record<string, Record<string, string> | undefined> = JSON.parse(read('package.json'));
    const kinds = ['dependencies', 'devDependencies', 'optionalDependencies'];
    const asked = kinds.flatMap((kind) => Object.entries(manifest[kind] ?? {}));
    expect(asked.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });
});

// Told and not enforced: long functions deserve a look, and a number to meet makes people split what is one thing.
afterAll(() => {
  const lengths = product.flatMap(functionLengths).toSorted((a, b) => a - b);
  const at = (share: number) => lengths[Math.floor((lengths.length - 1) * share)] ?? 0;
  process.stdout.write(
    `${lengths.length} functions: half within ${at(0.5)} lines, 9 in 10 within ${at(0.9)}, longest ${at(1)}\n`,
  );
});

function linesWith(pattern: RegExp, path: string, comments: boolean): { path: string; line: number }[] {
  const text = comments ? read(path) : withoutComments(read(path));
  return text.split('\n').flatMap((content, index) => (pattern.test(content) ? [{ path, line: index + 1 }] : []));
}

/** By indentation, which the formatter guarantees: from the line that opens a function to the brace that closes it. */
function functionLengths(path: string): number[] {
  const lines = read(path).split('\n');
  const opens =
    /^(\s*)(?:(?:export |async |static |private |get )*(?:function\b.*|[#\w]+\(.*)\)?.*|const \w+ = .*=>) \{$/;
  const notFunctions = /^\s*(if|for|while|switch|catch|else|\}|return|await|throw)\b/;
  return lines.flatMap((line, start) => {
    const indent = notFunctions.test(line) ? undefined : opens.exec(line)?.[1];
    if (indent === undefined) return [];
    const end = lines.findIndex((each, index) => index > start && each.startsWith(`${indent}}`));
    return end < 0 ? [] : [end - start + 1];
  });
}
