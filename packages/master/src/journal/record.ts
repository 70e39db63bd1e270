import { ByteReader, type ByteWriter, malformed, type Uuid } from '@tsukimi/wire';
import type {
  AsideImage,
  ChangeLog,
  DiskImage,
  MountImage,
  ObjectImage,
  ReplicaImage,
} from '../core/change-log.ts';

/**
 * Records, one after the other without gaps: a kind, then the fields in order. Little-endian; sizes and
 * numbers are u64, texts a u16 length and UTF-8. A layout never changes; a new one gets a new kind.
 */
const Kind = {
  MOUNTED: 1,
  UNMOUNTED: 2,
  DISK_MOUNTED: 3,
  DISK_UNMOUNTED: 4,
  STORED: 5,
  GONE: 6,
  SET_ASIDE: 7,
  RELEASED: 8,
} as const;

const Place = { MEMORY: 0, DISK: 1, LOCAL_DISK: 2 } as const;
const HARD_PIN = 1;
const CHECKSUM = 2;
const GROUP = 4;
const textByteCountMax = 0xffff;
const knownTextCountMax = 4_096;

/** Writes what it is told as records. */
export class RecordWriter implements ChangeLog {
  readonly #out: ByteWriter;
  readonly #onRecord: () => void;

  /** `onRecord` is told of the end of each record. */
  constructor(out: ByteWriter, onRecord: () => void) {
    this.#out = out;
    this.#onRecord = onRecord;
    out.lengthWidth = 2;
  }

  mounted({ number, segment, owner, isClosing }: MountImage): void {
    const out = this.#out;
    out.u8(Kind.MOUNTED);
    out.size(number);
    this.#text(segment.id);
    this.#text(segment.name);
    out.u64(segment.base);
    out.size(segment.size);
    this.#text(segment.teEndpoint);
    this.#text(segment.protocol);
    this.#text(segment.hostId);
    this.#text(owner);
    out.u8(isClosing ? 1 : 0);
    this.#onRecord();
  }

  unmounted(number: number): void {
    this.#out.u8(Kind.UNMOUNTED);
    this.#out.size(number);
    this.#onRecord();
  }

  diskMounted({ number, owner }: DiskImage): void {
    this.#out.u8(Kind.DISK_MOUNTED);
    this.#out.size(number);
    this.#text(owner);
    this.#onRecord();
  }

  diskUnmounted(number: number): void {
    this.#out.u8(Kind.DISK_UNMOUNTED);
    this.#out.size(number);
    this.#onRecord();
  }

  stored(object: ObjectImage): void {
    const out = this.#out;
    const { checksum, groupId, replicas } = object;
    out.u8(Kind.STORED);
    this.#text(object.tenant);
    this.#text(object.key);
    out.size(object.byteCount);
    this.#text(object.writer);
    out.size(object.softPinTtlMs);
    out.u8(
      (object.hardPin ? HARD_PIN : 0) |
        (checksum === null ? 0 : CHECKSUM) |
        (groupId === '' ? 0 : GROUP),
    );
    if (checksum !== null) out.u64(checksum);
    if (groupId !== '') this.#text(groupId);
    out.u16(replicas.length);
    for (const replica of replicas) this.#replica(replica);
    this.#onRecord();
  }

  gone(tenant: string, key: string): void {
    this.#out.u8(Kind.GONE);
    this.#text(tenant);
    this.#text(key);
    this.#onRecord();
  }

  setAside({ id, mount, offset, byteCount }: AsideImage): void {
    const out = this.#out;
    out.u8(Kind.SET_ASIDE);
    out.size(id);
    out.size(mount);
    out.size(offset);
    out.size(byteCount);
    this.#onRecord();
  }

  released(id: number): void {
    this.#out.u8(Kind.RELEASED);
    this.#out.size(id);
    this.#onRecord();
  }

  #replica(replica: ReplicaImage): void {
    const out = this.#out;
    const complete = replica.isComplete ? 0x80 : 0;
    switch (replica.kind) {
      case 'memory':
        out.u8(Place.MEMORY | complete);
        out.size(replica.id);
        out.size(replica.mount);
        out.size(replica.offset);
        break;
      case 'disk':
        out.u8(Place.DISK | complete);
        out.size(replica.id);
        this.#text(replica.filePath);
        out.size(replica.byteCount);
        break;
      case 'localDisk':
        out.u8(Place.LOCAL_DISK | complete);
        out.size(replica.id);
        out.size(replica.disk);
        out.size(replica.byteCount);
        this.#text(replica.transportEndpoint);
        break;
    }
  }

  #text(value: string): void {
    this.#out.text(value, textByteCountMax);
  }
}

/** Texts that many objects share, so that each is kept once. */
export class KnownTexts {
  readonly #texts = new Map<string, string>();

  same(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    if (this.#texts.size >= knownTextCountMax) this.#texts.clear();
    this.#texts.set(text, text);
    return text;
  }
}

/** Tells `log` what the records say. Throws `MALFORMED` for bytes that are none. */
export function replay(records: Buffer, log: ChangeLog, known: KnownTexts): void {
  const source = new ByteReader(records);
  source.lengthWidth = 2;
  while (source.remaining > 0) replayOne(source, log, known);
}

function replayOne(source: ByteReader, log: ChangeLog, known: KnownTexts): void {
  const kind = source.u8();
  switch (kind) {
    case Kind.MOUNTED:
      return log.mounted(readMount(source));
    case Kind.UNMOUNTED:
      return log.unmounted(source.size());
    case Kind.DISK_MOUNTED:
      return log.diskMounted({ number: source.size(), owner: readText(source) as Uuid });
    case Kind.DISK_UNMOUNTED:
      return log.diskUnmounted(source.size());
    case Kind.STORED:
      return log.stored(readObject(source, known));
    case Kind.GONE: {
      const tenant = readText(source);
      return log.gone(tenant, readText(source));
    }
    case Kind.SET_ASIDE:
      return log.setAside({
        id: source.size(),
        mount: source.size(),
        offset: source.size(),
        byteCount: source.size(),
      });
    case Kind.RELEASED:
      return log.released(source.size());
    default:
      throw malformed(`a record of the unknown kind ${kind}`);
  }
}

function readMount(source: ByteReader): MountImage {
  return {
    number: source.size(),
    segment: {
      id: readText(source) as Uuid,
      name: readText(source),
      base: source.u64(),
      size: source.size(),
      teEndpoint: readText(source),
      protocol: readText(source),
      hostId: readText(source),
    },
    owner: readText(source) as Uuid,
    isClosing: source.u8() !== 0,
  };
}

function readObject(source: ByteReader, known: KnownTexts): ObjectImage {
  const tenant = known.same(readText(source));
  const key = readText(source);
  const byteCount = source.size();
  const writer = known.same(readText(source)) as Uuid;
  const softPinTtlMs = source.size();
  const flags = source.u8();
  const checksum = (flags & CHECKSUM) === 0 ? null : source.u64();
  const groupId = (flags & GROUP) === 0 ? '' : known.same(readText(source));
  const replicas: ReplicaImage[] = [];
  for (let left = source.u16(); left > 0; left -= 1) replicas.push(readReplica(source));
  const hardPin = (flags & HARD_PIN) !== 0;
  return { tenant, key, byteCount, writer, checksum, hardPin, softPinTtlMs, groupId, replicas };
}

function readReplica(source: ByteReader): ReplicaImage {
  const head = source.u8();
  const isComplete = (head & 0x80) !== 0;
  const id = source.size();
  switch (head & 0x7f) {
    case Place.MEMORY:
      return { kind: 'memory', id, isComplete, mount: source.size(), offset: source.size() };
    case Place.DISK:
      return {
        kind: 'disk',
        id,
        isComplete,
        filePath: readText(source),
        byteCount: source.size(),
      };
    case Place.LOCAL_DISK:
      return {
        kind: 'localDisk',
        id,
        isComplete,
        disk: source.size(),
        byteCount: source.size(),
        transportEndpoint: readText(source),
      };
    default:
      throw malformed(`a replica of the unknown kind ${head & 0x7f}`);
  }
}

function readText(source: ByteReader): string {
  return source.text(textByteCountMax);
}
