import { parseArgs } from 'node:util';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { Fault } from './fault.ts';

/**
 * One option of a process, declared once: its flag, its type, its default and its words in `--help`.
 * `leaseTtlMs` is `--lease-ttl-ms` by rule; dashes and underscores are the same, and gflags' `-name`,
 * `--name=value` and `--noname` are understood.
 */
export interface Option {
  readonly schema: z.ZodType;
  /** One sentence for `--help`. */
  readonly doc: string;
  /** `flag` takes no value, `list` takes one or more; `value` when absent. */
  readonly kind?: 'value' | 'flag' | 'list';
  /** Other spellings, without leading dashes; one letter makes a short flag. */
  readonly aliases?: readonly string[];
  /** An environment variable that is read when the flag is absent. */
  readonly env?: string;
  /** Names a YAML or JSON file whose keys are flag names, for all that the command line does not say. */
  readonly isConfigFile?: true;
  /** Understood for the sake of other programs' command lines; nobody reads the value. */
  readonly hasNoEffect?: true;
}

export type Options = Readonly<Record<string, Option>>;
export type OptionValues<O extends Options> = {
  readonly [K in keyof O]: z.output<O[K]['schema']>;
};

export interface OptionSources {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Needed where an option names a configuration file. */
  readonly readFile?: (path: string) => string;
}

/** Flag beats environment beats configuration file beats default. Reports every problem at once, each with the flag's name. */
export function loadOptions<O extends Options>(
  options: O,
  sources: OptionSources,
): OptionValues<O> {
  const names = Object.keys(options);
  const given = parseFlags(options, sources.argv);
  const file = readConfigFile(options, given, sources);
  const problems: string[] = [];
  const loaded: Record<string, unknown> = {};
  for (const name of names) {
    const option = options[name] as Option;
    const fromEnv = option.env === undefined ? undefined : sources.env[option.env];
    const raw = given[name] ?? fromEnv ?? file?.values[name];
    const parsed = option.schema.safeParse(raw);
    if (parsed.success) loaded[name] = parsed.data;
    else {
      const flag = `--${flagOf(name)}`;
      const elsewhere = fromEnv === undefined ? `${file?.path}: ${flag.slice(2)}` : option.env;
      const where = given[name] === undefined && raw !== undefined ? elsewhere : flag;
      const reason =
        raw === undefined
          ? 'is required'
          : parsed.error.issues.map((issue) => issue.message).join('; ');
      problems.push(`${where}: ${raw === undefined ? '' : `${JSON.stringify(raw)}: `}${reason}`);
    }
  }
  if (problems.length > 0) throw new Fault('INVALID_ARGUMENT', problems.join('\n'));
  return Object.freeze(loaded) as OptionValues<O>;
}

/** What `--help` prints: a line for each option, and at the end the names of those without effect. */
export function describeOptions(options: Options): string {
  const all = Object.entries(options);
  const ignored = all.filter(([, { hasNoEffect }]) => hasNoEffect).map(([name]) => spelt(name));
  const rows = all
    .filter(([, { hasNoEffect }]) => !hasNoEffect)
    .map(([name, option]) => {
      const flags = [name, ...(option.aliases ?? [])].map(spelt).join(', ');
      const value = { flag: '', list: ' V …', value: ' V' }[option.kind ?? 'value'];
      const fallback = option.schema.safeParse(undefined);
      const shown =
        fallback.success &&
        fallback.data !== undefined &&
        fallback.data !== '' &&
        !hasParts(fallback.data) &&
        option.kind !== 'flag'
          ? ` Default: ${Array.isArray(fallback.data) ? fallback.data.join(' ') || 'none' : JSON.stringify(fallback.data).replaceAll('"', '')}.`
          : '';
      return [`  ${flags}${value}`, `${option.doc}${shown}`] as const;
    });
  const width = Math.min(38, Math.max(...rows.map(([left]) => left.length)) + 2);
  const lines = rows.map(([left, doc]) =>
    left.length < width ? `${left.padEnd(width)}${doc}` : `${left}\n${' '.repeat(width)}${doc}`,
  );
  if (ignored.length > 0) lines.push('', `Accepted without effect: ${ignored.join(' ')}`);
  return lines.join('\n');
}

/** Schemas that more than one process uses. */
export const optionTypes = {
  port: z.coerce.number().int().min(0).max(65_535),
  count: z.coerce.number().int().positive(),
  milliseconds: z.coerce.number().nonnegative(),
  ratio: z.coerce.number().gt(0).lte(1),
  /** A flag that is false unless given; `=false` and `=0` are understood as gflags does. */
  flag: z.union([z.boolean(), z.stringbool()]).default(false),
} as const;

/** A value that was taken apart, whose text is not to be had back. */
function hasParts(value: unknown): boolean {
  return [value].flat().some((one) => typeof one === 'object');
}

function spelt(name: string): string {
  return name.length === 1 ? `-${name}` : `--${flagOf(name)}`;
}

function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Option names by all their spellings, with dashes. */
function spellingsOf(options: Options): Map<string, string> {
  const nameBySpelling = new Map<string, string>();
  for (const [name, option] of Object.entries(options)) {
    nameBySpelling.set(flagOf(name), name);
    for (const alias of option.aliases ?? []) nameBySpelling.set(alias.replaceAll('_', '-'), name);
  }
  return nameBySpelling;
}

interface ConfigFile {
  readonly path: string;
  readonly values: Readonly<Record<string, string>>;
}

/** Null when none is named. An empty value is as good as an absent one. */
function readConfigFile(
  options: Options,
  given: Readonly<Record<string, unknown>>,
  { readFile }: OptionSources,
): ConfigFile | null {
  const flag = Object.keys(options).find((name) => options[name]?.isConfigFile);
  const path = flag === undefined ? undefined : (given[flag] as string | undefined);
  if (path === undefined || path === '' || readFile === undefined) return null;
  const refuse = (reason: string): never => {
    throw new Fault('INVALID_ARGUMENT', `--${flagOf(flag as string)}: ${path}: ${reason}`);
  };
  let content: unknown;
  try {
    content = parseYaml(readFile(path)) ?? {};
  } catch (error) {
    refuse((error as Error).message);
  }
  if (typeof content !== 'object' || Array.isArray(content)) {
    refuse('a configuration file is a list of names and values');
  }
  const nameBySpelling = spellingsOf(options);
  const values: Record<string, string> = {};
  for (const [key, value] of Object.entries(content as object)) {
    const name = nameBySpelling.get(key.replaceAll('_', '-'));
    if (name === undefined) refuse(`${key}: unknown option; --help lists them all`);
    if (value !== null && typeof value === 'object') refuse(`${key}: one value is needed`);
    if (value !== null && value !== '') values[name as string] = String(value);
  }
  return { path, values };
}

/** Spells every argument the way `parseArgs` wants it, then lets it do the work. */
function parseFlags(options: Options, argv: readonly string[]): Record<string, unknown> {
  const nameBySpelling = spellingsOf(options);
  const normal: string[] = [];
  let list: string | null = null;
  for (const argument of argv) {
    const match = /^--?([A-Za-z][\w.-]*)(?:=([\s\S]*))?$/.exec(argument);
    if (match === null) {
      if (list !== null) normal.push(`--${list}=${argument}`);
      else normal.push(argument);
      continue;
    }
    const spelling = (match[1] as string).replaceAll('_', '-');
    const negated = spelling.startsWith('no') ? spelling.replace(/^no-?/, '') : '';
    const name = nameBySpelling.get(spelling);
    const negatedName = nameBySpelling.get(negated);
    const value = match[2];
    if (name === undefined && negatedName !== undefined && options[negatedName]?.kind === 'flag') {
      normal.push(`--${negatedName}=false`);
      list = null;
    } else if (name === undefined) {
      throw new Fault('INVALID_ARGUMENT', `--${spelling}: unknown option; --help lists them all`);
    } else if (options[name]?.kind === 'flag') {
      normal.push(`--${name}=${value ?? 'true'}`);
      list = null;
    } else {
      list = options[name]?.kind === 'list' ? name : null;
      if (value !== undefined) normal.push(`--${name}=${value}`);
      else if (list === null) normal.push(`--${name}`);
    }
  }
  try {
    return parseArgs({
      args: normal,
      options: Object.fromEntries(
        Object.entries(options).map(([name, { kind }]) => [
          name,
          { type: 'string' as const, multiple: kind === 'list' },
        ]),
      ),
      strict: true,
    }).values;
  } catch (error) {
    throw new Fault('INVALID_ARGUMENT', (error as Error).message);
  }
}
