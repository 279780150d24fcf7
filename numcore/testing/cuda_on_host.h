// Runs CUDA C++ kernels on the host CPU, one block at a time, every CUDA thread a fiber.
//
// host_cuda.py compiles  this header + { the .cu source } + a table of its entry points  into one
// shared library. Source and device API sit together in an unnamed namespace: overloads meet, and
// unused functions cost nothing.
//
// A fiber runs until it meets a barrier or a warp operation; when no fiber can run on, the
// scheduler releases the barrier that all threads have reached, and reports a fault when there is
// none. No fiber is interrupted between two such points, so atomics are plain arithmetic.
//
// Only C headers are included, and none that declares mathematics: compile time counts, and CUDA's
// overloads (exp(float), max(int, unsigned)) must not meet those of the standard library.
#pragma once
#define NUMCORE_ON_HOST 1
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

// ---------------------------------------------------------------------------------------------------------------------
// Language

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __shared__ static __thread  // see shared_memory()
#define __launch_bounds__(...)
#define __forceinline__ __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(host::dynamic_shared)

namespace {

#define NUMCORE_VECTOR(T, name, align2, align4)                      \
  struct name##1 { T x; };                                           \
  struct __align__(align2) name##2 { T x, y; };                      \
  struct name##3 { T x, y, z; };                                     \
  struct __align__(align4) name##4 { T x, y, z, w; };                \
  inline name##1 make_##name##1(T x) { return {x}; }                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
NUMCORE_VECTOR(signed char, char, 2, 4)
NUMCORE_VECTOR(unsigned char, uchar, 2, 4)
NUMCORE_VECTOR(short, short, 4, 8)
NUMCORE_VECTOR(unsigned short, ushort, 4, 8)
NUMCORE_VECTOR(int, int, 8, 16)
NUMCORE_VECTOR(unsigned, uint, 8, 16)
NUMCORE_VECTOR(long long, longlong, 16, 16)
NUMCORE_VECTOR(unsigned long long, ulonglong, 16, 16)
NUMCORE_VECTOR(float, float, 8, 16)
NUMCORE_VECTOR(double, double, 16, 16)
#undef NUMCORE_VECTOR

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
constexpr int warpSize = 32;

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// Switching fibers: save the callee-saved registers on the old stack, take them from the new one.
// (swapcontext makes a system call at every switch, ten times the cost of this.)

#if defined(__x86_64__) && !defined(NUMCORE_UCONTEXT)
#define NUMCORE_SWITCH_SAVED 6
asm(R"(
  .text
  .globl numcore_host_switch
  .hidden numcore_host_switch
  .type numcore_host_switch, @function
numcore_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size numcore_host_switch, .-numcore_host_switch
)");
#elif defined(__aarch64__) && !defined(NUMCORE_UCONTEXT)
#define NUMCORE_SWITCH_SAVED 20
asm(R"(
  .text
  .globl numcore_host_switch
  .hidden numcore_host_switch
  .type numcore_host_switch, %function
numcore_host_switch:
  sub sp, sp, #160
  stp d8, d9, [sp, #0]
  stp d10, d11, [sp, #16]
  stp d12, d13, [sp, #32]
  stp d14, d15, [sp, #48]
  stp x19, x20, [sp, #64]
  stp x21, x22, [sp, #80]
  stp x23, x24, [sp, #96]
  stp x25, x26, [sp, #112]
  stp x27, x28, [sp, #128]
  stp x29, x30, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp d8, d9, [sp, #0]
  ldp d10, d11, [sp, #16]
  ldp d12, d13, [sp, #32]
  ldp d14, d15, [sp, #48]
  ldp x19, x20, [sp, #64]
  ldp x21, x22, [sp, #80]
  ldp x23, x24, [sp, #96]
  ldp x25, x26, [sp, #112]
  ldp x27, x28, [sp, #128]
  ldp x29, x30, [sp, #144]
  add sp, sp, #160
  ret
  .size numcore_host_switch, .-numcore_host_switch
)");
#endif

#ifdef NUMCORE_SWITCH_SAVED
extern "C" __attribute__((visibility("hidden"))) void numcore_host_switch(void** save, void* load);
#endif

// ---------------------------------------------------------------------------------------------------------------------
// What host_cuda.py sees

extern "C" {
struct NumcoreParameter {  // kinds: 'f' float, 'i' signed, 'u' unsigned, 's' struct, 'p' pointer,
                           // 'v' void
  char kind, pointee_kind, pointee_const;
  unsigned size, pointee_size;
};
struct NumcoreEntry {
  const char* name;
  unsigned count;
  const NumcoreParameter* parameters;
  void (*call)(void** values);
};
struct NumcoreLaunch {
  unsigned grid[3], block[3];
  const unsigned *block_order, *thread_order;  // thread_order: the lanes of a warp stand together
  char* shared;
  unsigned long shared_size;
  char* stacks;  // 1024 of them, each above a guard page
  unsigned long stack_size, stack_stride;
  unsigned char poison;
};
struct NumcoreFault {
  int kind, write;
  void* address;
  unsigned thread[3], block[3];
  char message[400];
};
}

namespace {
namespace host {

enum FaultKind { NO_FAULT, MEMORY, BOUNDS, BARRIER, MISALIGNED, ARITHMETIC, TRAP };
enum State { NEW, READY, AT_WARP, AT_BLOCK, DONE };
enum Operation { SYNC, SHUFFLE, BALLOT };
constexpr unsigned MOST_THREADS = 1024;

#ifdef NUMCORE_SWITCH_SAVED
typedef void* Context;
#else
typedef ucontext_t Context;
#endif

struct Thread {
  Context context;
  State state;
  unsigned stack;
  uint3 index;
  Operation operation;
  int line;  // of the barrier it waits at
  unsigned mask, source;
  unsigned long long value, result;
};

Thread threads[MOST_THREADS];
unsigned thread_number, free_stacks[MOST_THREADS], free_stack_number;
Thread* self;
Context scheduler;
const NumcoreLaunch* current;
const NumcoreEntry* entry;
void** values;
char* dynamic_shared;

sigjmp_buf escape;
NumcoreFault* fault;
pthread_t launcher;

[[noreturn]] void leave(FaultKind kind, void* address = nullptr, int write = -1) {
  fault->kind = kind;
  fault->address = address;
  fault->write = write;
  memcpy(fault->thread, &threadIdx, sizeof threadIdx);
  memcpy(fault->block, &blockIdx, sizeof blockIdx);
  siglongjmp(escape, 1);
}

__attribute__((format(printf, 1, 2))) void describe(const char* format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(fault->message, sizeof fault->message, format, list);
  va_end(list);
}

// -- Fibers

void suspend() {
#ifdef NUMCORE_SWITCH_SAVED
  numcore_host_switch(&self->context, scheduler);
#else
  swapcontext(&self->context, &scheduler);
#endif
}

void fiber_main() {
  entry->call(values);
  self->state = DONE;
  suspend();
  __builtin_unreachable();
}

void start(Thread* thread) {
  thread->stack =
      free_stacks[--free_stack_number];  // the last one given back: still in the CPU's cache
  char* bottom = current->stacks + thread->stack * current->stack_stride;
#ifdef NUMCORE_SWITCH_SAVED
  // A frame as numcore_host_switch leaves it, returning into fiber_main.
  void** top = reinterpret_cast<void**>(bottom + current->stack_size);
#ifdef __x86_64__
  *--top = nullptr;  // fiber_main's return address: never used, keeps the stack aligned
  *--top = reinterpret_cast<void*>(fiber_main);
  top -= NUMCORE_SWITCH_SAVED;
#else
  top -= NUMCORE_SWITCH_SAVED;
  top[NUMCORE_SWITCH_SAVED - 1] = reinterpret_cast<void*>(fiber_main);
#endif
  thread->context = top;
#else
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = bottom;
  thread->context.uc_stack.ss_size = current->stack_size;
  thread->context.uc_link = nullptr;
  makecontext(&thread->context, fiber_main, 0);
#endif
}

// Runs a thread to its next barrier, if it is not waiting; whether it has ended.
bool run(Thread* thread) {
  if (thread->state > READY) return false;
  if (thread->state == NEW) start(thread);
  self = thread;
  threadIdx = thread->index;
#ifdef NUMCORE_SWITCH_SAVED
  numcore_host_switch(&scheduler, thread->context);
#else
  swapcontext(&scheduler, &thread->context);
#endif
  if (thread->state != DONE) return false;
  free_stacks[free_stack_number++] = thread->stack;
  return true;
}

// -- Barriers and warp operations

unsigned warp_end(unsigned first) {
  return thread_number - first < 32 ? thread_number : first + 32;
}

// Lanes of the mask that still run; a lane that has exited is not waited for.
unsigned live_lanes(unsigned first) {
  unsigned lanes = 0;
  for (unsigned t = first; t < warp_end(first); t++)
    if (threads[t].state != DONE) lanes |= 1u << (t - first);
  return lanes;
}

bool release_warp(unsigned first) {
  unsigned live = live_lanes(first);
  bool released = false;
  for (unsigned t = first; t < warp_end(first); t++) {
    Thread& leader = threads[t];
    if (leader.state != AT_WARP) continue;
    unsigned group = leader.mask & live;
    bool complete = true;
    for (unsigned lane = 0; lane < 32; lane++)
      if (group >> lane & 1) {
        Thread& other = threads[first + lane];
        complete &= other.state == AT_WARP && other.mask == leader.mask &&
                    other.operation == leader.operation;
      }
    if (!complete) continue;
    unsigned long long votes = 0;
    for (unsigned lane = 0; lane < 32; lane++)
      if (group >> lane & 1 && threads[first + lane].value) votes |= 1ull << lane;
    // Results are handed out here, at once, so that a lane may run ahead into the next operation.
    for (unsigned lane = 0; lane < 32; lane++)
      if (group >> lane & 1) {
        Thread& thread = threads[first + lane];
        thread.state = READY;
        if (thread.operation == BALLOT) thread.result = votes;
        if (thread.operation == SHUFFLE) {
          if (group >> thread.source & 1)
            thread.result = threads[first + thread.source].value;
          else
            memset(&thread.result, current->poison,
                   sizeof thread.result);  // undefined on the device
        }
      }
    released = true;
  }
  return released;
}

bool release_block() {
  unsigned count = 0;
  for (unsigned t = 0; t < thread_number; t++) {
    if (threads[t].state != AT_BLOCK || threads[t].line != threads[0].line) return false;
    count += threads[t].value != 0;
  }
  for (unsigned t = 0; t < thread_number; t++) {
    threads[t].state = READY;
    threads[t].result = count;
  }
  return true;
}

[[noreturn]] void fail_at_barrier() {
  // The first waiting thread stands for its group; the next one that is elsewhere is the odd one
  // out.
  unsigned exited = 0, odd = thread_number, first = thread_number;
  for (unsigned t = 0; t < thread_number; t++) {
    const Thread& thread = threads[t];
    if (thread.state == DONE)
      exited++;
    else if (first == thread_number)
      first = t;
    else if (odd == thread_number &&
             (thread.state != threads[first].state || thread.line != threads[first].line))
      odd = t;
  }
  static const char* const names[] = {"__syncwarp", "a warp shuffle", "a warp vote"};
  const Thread& a = threads[first];
  const char* at = a.state == AT_BLOCK ? "__syncthreads" : names[a.operation];
  if (odd < thread_number) {
    const Thread& b = threads[odd];
    describe(
        "thread %u waits at %s (line %d, mask %08x), thread %u at %s (line %d, mask %08x); %u of "
        "%u threads have exited",
        first, at, a.line, a.mask, odd, b.state == AT_BLOCK ? "__syncthreads" : names[b.operation],
        b.line, b.mask, exited, thread_number);
  } else {
    describe("%u threads wait at %s (line %d), %u of %u threads have exited",
             thread_number - exited, at, a.line, exited, thread_number);
  }
  threadIdx = a.index;
  leave(BARRIER);
}

unsigned long long wait_for_block(unsigned long long value, int line) {
  self->state = AT_BLOCK;
  self->value = value;
  self->line = line;
  self->mask = ~0u;
  suspend();
  return self->result;
}

unsigned lane() { return (self - threads) % 32; }

unsigned long long wait_for_warp(Operation operation, unsigned mask, unsigned long long value,
                                 unsigned source, int line) {
  if (!(mask >> lane() & 1)) {
    describe("lane %u calls a warp operation (line %d) whose mask %08x does not contain it", lane(),
             line, mask);
    leave(BARRIER);
  }
  self->state = AT_WARP;
  self->operation = operation;
  self->mask = mask;
  self->value = value;
  self->source = source;
  self->line = line;
  suspend();
  return self->result;
}

template <typename T>
T shuffle(unsigned mask, T value, unsigned source, int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "warp shuffles take 4 or 8 bytes");
  unsigned long long bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = wait_for_warp(SHUFFLE, mask, bits, source, line);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// -- A launch

// All __shared__ arrays together: they are the library's only thread-local variables, so they are
// its thread-local block. (A section attribute would do for functions, but g++ drops it inside
// templates.)
__thread char shared_anchor;
struct Shared {
  char* start;
  size_t size;
};

int find_shared(dl_phdr_info* library, size_t, void* result) {
  Shared* shared = static_cast<Shared*>(result);
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const ElfW(Phdr) & segment = library->dlpi_phdr[i];
    char* start = static_cast<char*>(library->dlpi_tls_data);
    if (segment.p_type == PT_TLS && start && &shared_anchor >= start &&
        &shared_anchor < start + segment.p_memsz) {
      *shared = {start, segment.p_memsz};
      return 1;
    }
  }
  return 0;
}

Shared shared_memory() {
  shared_anchor = 1;  // the first access makes this thread's block
  Shared shared = {&shared_anchor, 1};
  dl_iterate_phdr(find_shared, &shared);
  return shared;
}

Shared shared;

void run_block(const NumcoreLaunch& launch) {
  memset(shared.start, launch.poison, shared.size);
  memset(launch.shared, launch.poison, launch.shared_size);
  free_stack_number = thread_number;
  for (unsigned t = 0; t < thread_number; t++) {
    free_stacks[t] = t;
    threads[t].state = NEW;
    threads[t].index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
  }
  // Each warp runs as far as it can before the next one starts. So of two warps that touch the same
  // memory between two barriers one comes first in one order, the other in the reverse order;
  // likewise two lanes between two warp operations.
  unsigned done = 0;
  do {
    for (unsigned i = 0; i < thread_number;) {
      unsigned first = launch.thread_order[i] / 32 * 32, size = warp_end(first) - first;
      do {
        for (unsigned j = i; j < i + size; j++) done += run(&threads[launch.thread_order[j]]);
      } while (release_warp(first));
      i += size;
    }
  } while (done < thread_number && release_block());
  if (done < thread_number) fail_at_barrier();
}

const int caught_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr int caught_number = sizeof caught_signals / sizeof *caught_signals;
struct sigaction former[caught_number];

int is_write(const void* context) {  // -1: unknown
  const ucontext_t* machine = static_cast<const ucontext_t*>(context);
#if defined(__x86_64__)
  return machine->uc_mcontext.gregs[19 /* REG_ERR */] >> 1 & 1;
#elif defined(__aarch64__)
  struct Record {
    unsigned magic, size;
  };
  const char* record = reinterpret_cast<const char*>(machine->uc_mcontext.__reserved);
  for (;;) {
    Record head;
    memcpy(&head, record, sizeof head);
    if (!head.size) return -1;
    if (head.magic == 0x45535201) {  // ESR_MAGIC
      unsigned long long syndrome;
      memcpy(&syndrome, record + sizeof head, sizeof syndrome);
      return syndrome >> 6 & 1;
    }
    record += head.size;
  }
#else
  return machine ? -1 : -1;
#endif
}

void on_signal(int signal, siginfo_t* info, void* context) {
  if (!pthread_equal(pthread_self(),
                     launcher)) {  // not ours: let it happen again under the former handler
    for (int i = 0; i < caught_number; i++)
      if (caught_signals[i] == signal) sigaction(signal, &former[i], nullptr);
    return;
  }
  if (signal == SIGFPE) {
    describe("integer division by zero, or its overflow");
    leave(ARITHMETIC);
  }
  if (signal == SIGILL) {
    describe("the kernel ran into code that cannot be reached");
    leave(TRAP);
  }
  leave(MEMORY, info->si_code > 0 && info->si_code < SI_KERNEL ? info->si_addr : nullptr,
        is_write(context));
}

void run_grid(const NumcoreLaunch& launch) {
  unsigned long blocks = static_cast<unsigned long>(gridDim.x) * gridDim.y * gridDim.z;
  for (unsigned long i = 0; i < blocks; i++) {
    unsigned b = launch.block_order[i];
    blockIdx = {b % gridDim.x, b / gridDim.x % gridDim.y, b / gridDim.x / gridDim.y};
    run_block(launch);
  }
}

// -- The parameters of an entry, from its type

template <typename T, bool = __is_class(T)>
struct Kind {
  static constexpr char value = T(0.5) != T(0) ? 'f' : T(-1) < T(0) ? 'i' : 'u';
};
template <typename T>
struct Kind<T, true> {
  static constexpr char value = 's';
};
template <>
struct Kind<bool, false> {
  static constexpr char value = 'u';
};
template <typename T>
struct Kind<T*, false> {
  static constexpr char value = 'p';
};

template <typename T>
struct Parameter {
  static constexpr NumcoreParameter value = {Kind<T>::value, 0, 0, sizeof(T), 0};
};
template <typename T>
struct Parameter<T*> {
  static constexpr NumcoreParameter value = {'p', Kind<T>::value, 0, sizeof(T*), sizeof(T)};
};
template <typename T>
struct Parameter<const T*> {
  static constexpr NumcoreParameter value = {'p', Kind<T>::value, 1, sizeof(T*), sizeof(T)};
};
template <>
struct Parameter<void*> {
  static constexpr NumcoreParameter value = {'p', 'v', 0, sizeof(void*), 0};
};
template <>
struct Parameter<const void*> {
  static constexpr NumcoreParameter value = {'p', 'v', 1, sizeof(void*), 0};
};

template <typename... Rest>
struct Unpack {
  template <typename F, typename... Done>
  static void call(F* function, void**, Done... done) {
    function(done...);
  }
};
template <typename First, typename... Rest>
struct Unpack<First, Rest...> {
  template <typename F, typename... Done>
  static void call(F* function, void** slots, Done... done) {
    Unpack<Rest...>::call(function, slots + 1, done..., *static_cast<First*>(*slots));
  }
};

template <auto function>
struct Bind;
template <typename... P, void (*function)(P...)>
struct Bind<function> {
  static constexpr NumcoreParameter parameters[sizeof...(P) + 1] = {Parameter<P>::value...};
  static void call(void** slots) { Unpack<P...>::call(function, slots); }
  static constexpr NumcoreEntry entry(const char* name) {
    return {name, sizeof...(P), parameters, call};
  }
};

}  // namespace host
}  // namespace

// Runs the grid; returns 0, or 1 with the fault described.
extern "C" __attribute__((visibility("default"), used)) int numcore_launch(
    const NumcoreEntry* entry, void** values, const NumcoreLaunch* launch, NumcoreFault* fault) {
  static char signal_stack[1 << 16];
  host::entry = entry;
  host::values = values;
  host::current = launch;
  host::fault = fault;
  host::launcher = pthread_self();
  host::shared = host::shared_memory();
  host::dynamic_shared = launch->shared;
  gridDim = dim3(launch->grid[0], launch->grid[1], launch->grid[2]);
  blockDim = dim3(launch->block[0], launch->block[1], launch->block[2]);
  host::thread_number = blockDim.x * blockDim.y * blockDim.z;

  // A fault may be a stack overflow, so the handler needs a stack of its own.
  stack_t alternative = {}, former_stack;
  alternative.ss_sp = signal_stack;
  alternative.ss_size = sizeof signal_stack;
  sigaltstack(&alternative, &former_stack);
  struct sigaction action = {};
  action.sa_sigaction = host::on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < host::caught_number; i++)
    sigaction(host::caught_signals[i], &action, &host::former[i]);

  int failed = sigsetjmp(host::escape, 1);
  if (!failed) host::run_grid(*launch);

  for (int i = 0; i < host::caught_number; i++)
    sigaction(host::caught_signals[i], &host::former[i], nullptr);
  sigaltstack(&former_stack, nullptr);
  return failed;
}

// -fsanitize=bounds,alignment calls these; the sanitizer's own library is not linked.
extern "C" {
struct NumcoreSource {
  const char* file;
  unsigned line, column;
};
struct NumcoreType {
  unsigned short kind, info;
  char name[1];
};
struct NumcoreBounds {
  NumcoreSource source;
  const NumcoreType *array, *index;
};
struct NumcoreMismatch {
  NumcoreSource source;
  const NumcoreType* type;
};

__attribute__((visibility("hidden"), used)) void __ubsan_handle_out_of_bounds(void* data,
                                                                              void* index) {
  const NumcoreBounds* bounds = static_cast<const NumcoreBounds*>(data);
  host::describe("index %lld of an array of type %s, at %s:%u", reinterpret_cast<long long>(index),
                 bounds->array->name, bounds->source.file, bounds->source.line);
  host::leave(host::BOUNDS);
}
__attribute__((visibility("hidden"), used)) void __ubsan_handle_type_mismatch_v1(void* data,
                                                                                 void* address) {
  const NumcoreMismatch* mismatch = static_cast<const NumcoreMismatch*>(data);
  host::describe("access of type %s through a pointer that is not aligned for it, at %s:%u",
                 mismatch->type->name, mismatch->source.file, mismatch->source.line);
  host::leave(host::MISALIGNED, address);
}
}

// ---------------------------------------------------------------------------------------------------------------------
// Device API

namespace {

// Threads and warps

inline void __syncthreads(int line = __builtin_LINE()) { host::wait_for_block(0, line); }
inline int __syncthreads_count(int predicate, int line = __builtin_LINE()) {
  return host::wait_for_block(predicate != 0, line);
}
inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) {
  return host::wait_for_block(predicate != 0, line) != 0;
}
inline int __syncthreads_and(int predicate, int line = __builtin_LINE()) {
  return host::wait_for_block(predicate == 0, line) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
  host::wait_for_warp(host::SYNC, mask, 0, 0, line);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {}
[[noreturn]] inline void __trap() {
  host::describe("the kernel called __trap()");
  host::leave(host::TRAP);
}

// The lanes that run together are not known here: all lanes that have not exited.
inline unsigned __activemask() { return host::live_lanes((host::self - host::threads) & ~31u); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
  unsigned segment = host::lane() & ~(width - 1);
  return host::shuffle(mask, value, segment + (source & (width - 1)), line);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 int line = __builtin_LINE()) {
  unsigned lane = host::lane(), position = lane & (width - 1);
  return host::shuffle(mask, value, delta <= position ? lane - delta : lane, line);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   int line = __builtin_LINE()) {
  unsigned lane = host::lane(), position = lane & (width - 1);
  return host::shuffle(mask, value, delta < width - position ? lane + delta : lane, line);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  int line = __builtin_LINE()) {
  unsigned lane = host::lane(), source = lane ^ lane_mask, last = lane | (width - 1);
  return host::shuffle(mask, value, source <= last ? source : lane, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return host::wait_for_warp(host::BALLOT, mask, predicate != 0, 0, line);
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, !predicate, line) == 0;
}

#define NUMCORE_REDUCE(name, T, expression)                                            \
  inline T __reduce_##name##_sync(unsigned mask, T own, int line = __builtin_LINE()) { \
    unsigned lanes = __ballot_sync(mask, 1, line);                                     \
    T a = __shfl_sync(mask, own, __builtin_ctz(lanes), 32, line);                      \
    for (unsigned rest = lanes & (lanes - 1); rest; rest &= rest - 1) {                \
      T b = __shfl_sync(mask, own, __builtin_ctz(rest), 32, line);                     \
      a = expression;                                                                  \
    }                                                                                  \
    return a;                                                                          \
  }
NUMCORE_REDUCE(add, unsigned, a + b)
NUMCORE_REDUCE(min, unsigned, a < b ? a : b)
NUMCORE_REDUCE(max, unsigned, a > b ? a : b)
NUMCORE_REDUCE(add, int, int(unsigned(a) + unsigned(b)))
NUMCORE_REDUCE(min, int, a < b ? a : b)
NUMCORE_REDUCE(max, int, a > b ? a : b)
NUMCORE_REDUCE(and, unsigned, a& b)
NUMCORE_REDUCE(or, unsigned, a | b)
NUMCORE_REDUCE(xor, unsigned, a ^ b)
#undef NUMCORE_REDUCE

template <typename T>
unsigned __match_any_sync(unsigned mask, T own, int line = __builtin_LINE()) {
  unsigned lanes = __ballot_sync(mask, 1, line), equal = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    unsigned lane = __builtin_ctz(rest);
    if (__shfl_sync(mask, own, lane, 32, line) == own) equal |= 1u << lane;
  }
  return equal;
}

// Memory

namespace host {
template <typename T>
struct Same {
  typedef T type;
};
}  // namespace host
#define NUMCORE_ATOMIC(name, expression)         \
  template <typename T>                          \
  T name(T* p, typename host::Same<T>::type v) { \
    T old = *p;                                  \
    *p = expression;                             \
    return old;                                  \
  }
NUMCORE_ATOMIC(atomicAdd, old + v)
NUMCORE_ATOMIC(atomicSub, old - v)
NUMCORE_ATOMIC(atomicMax, old > v ? old : v)
NUMCORE_ATOMIC(atomicMin, old < v ? old : v)
NUMCORE_ATOMIC(atomicExch, v)
NUMCORE_ATOMIC(atomicAnd, old& v)
NUMCORE_ATOMIC(atomicOr, old | v)
NUMCORE_ATOMIC(atomicXor, old ^ v)
NUMCORE_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
NUMCORE_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
#undef NUMCORE_ATOMIC
template <typename T>
T atomicCAS(T* p, typename host::Same<T>::type compare, typename host::Same<T>::type v) {
  T old = *p;
  if (old == compare) *p = v;
  return old;
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T __ldcg(const T* p) {
  return *p;
}
template <typename T>
T __ldcs(const T* p) {
  return *p;
}
template <typename T>
void __stcg(T* p, typename host::Same<T>::type v) {
  *p = v;
}
template <typename T>
void __stcs(T* p, typename host::Same<T>::type v) {
  *p = v;
}

// Integers and bits

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned long long __brevll(unsigned long long x) {
  x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
  x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
  return __builtin_bswap64(x);
}
inline unsigned __brev(unsigned x) { return __brevll(x) >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned long long>(a) * b >> 32;
}
inline int __mulhi(int a, int b) { return static_cast<long long>(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned __int128>(a) * b >> 64;
}
inline long long __mul64hi(long long a, long long b) { return static_cast<__int128>(a) * b >> 64; }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
  return ((static_cast<unsigned long long>(high) << 32 | low) << (n & 31)) >> 32;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
  return (static_cast<unsigned long long>(high) << 32 | low) >> (n & 31);
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  unsigned long long bytes = static_cast<unsigned long long>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) result |= (bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return result;
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++)
    c += static_cast<signed char>(a >> 8 * i) * static_cast<signed char>(b >> 8 * i);
  return c;
}

#define NUMCORE_CAST(name, From, To) \
  inline To name(From x) {           \
    To result;                       \
    memcpy(&result, &x, sizeof x);   \
    return result;                   \
  }
NUMCORE_CAST(__float_as_int, float, int)
NUMCORE_CAST(__int_as_float, int, float)
NUMCORE_CAST(__float_as_uint, float, unsigned)
NUMCORE_CAST(__uint_as_float, unsigned, float)
NUMCORE_CAST(__double_as_longlong, double, long long)
NUMCORE_CAST(__longlong_as_double, long long, double)
#undef NUMCORE_CAST
inline double __hiloint2double(int high, int low) {
  return __longlong_as_double(static_cast<long long>(high) << 32 | static_cast<unsigned>(low));
}
inline int __double2hiint(double x) { return __double_as_longlong(x) >> 32; }
inline int __double2loint(double x) { return __double_as_longlong(x); }

// Floating point. Device functions that are only approximate (__expf, rsqrtf, …) are exact to
// rounding here.

#define NUMCORE_MATH1(name)                                     \
  inline double name(double x) { return __builtin_##name(x); }  \
  inline float name(float x) { return __builtin_##name##f(x); } \
  inline float name##f(float x) { return __builtin_##name##f(x); }
#define NUMCORE_MATH2(name)                                                 \
  inline double name(double x, double y) { return __builtin_##name(x, y); } \
  inline float name(float x, float y) { return __builtin_##name##f(x, y); } \
  inline float name##f(float x, float y) { return __builtin_##name##f(x, y); }
NUMCORE_MATH1(exp)
NUMCORE_MATH1(exp2) NUMCORE_MATH1(expm1) NUMCORE_MATH1(log) NUMCORE_MATH1(log2) NUMCORE_MATH1(log10)
    NUMCORE_MATH1(log1p) NUMCORE_MATH1(logb) NUMCORE_MATH1(sqrt) NUMCORE_MATH1(cbrt)
        NUMCORE_MATH1(sin) NUMCORE_MATH1(cos) NUMCORE_MATH1(tan) NUMCORE_MATH1(asin)
            NUMCORE_MATH1(acos) NUMCORE_MATH1(atan) NUMCORE_MATH1(sinh) NUMCORE_MATH1(cosh)
                NUMCORE_MATH1(tanh) NUMCORE_MATH1(asinh) NUMCORE_MATH1(acosh) NUMCORE_MATH1(atanh)
                    NUMCORE_MATH1(erf) NUMCORE_MATH1(erfc) NUMCORE_MATH1(tgamma)
                        NUMCORE_MATH1(lgamma) NUMCORE_MATH1(floor) NUMCORE_MATH1(ceil)
                            NUMCORE_MATH1(round) NUMCORE_MATH1(trunc) NUMCORE_MATH1(rint)
                                NUMCORE_MATH1(nearbyint) NUMCORE_MATH1(fabs) NUMCORE_MATH2(pow)
                                    NUMCORE_MATH2(atan2) NUMCORE_MATH2(hypot) NUMCORE_MATH2(fmod)
                                        NUMCORE_MATH2(remainder) NUMCORE_MATH2(copysign)
                                            NUMCORE_MATH2(fdim) NUMCORE_MATH2(nextafter)
#undef NUMCORE_MATH1
#undef NUMCORE_MATH2
#define NUMCORE_BESSEL(name)                                      \
  extern "C" double numcore_libm_##name(double) __asm__(#name);   \
  inline double name(double x) { return numcore_libm_##name(x); } \
  inline float name(float x) { return numcore_libm_##name(x); }   \
  inline float name##f(float x) { return numcore_libm_##name(x); }
                                                NUMCORE_BESSEL(j0) NUMCORE_BESSEL(j1)
                                                    NUMCORE_BESSEL(y0) NUMCORE_BESSEL(y1)
#undef NUMCORE_BESSEL

                                                        inline double pow(double x, int n) {
  return __builtin_pow(x, n);
}
inline float pow(float x, int n) { return __builtin_powf(x, n); }

inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float __fmaf_rn(float x, float y, float z) { return __builtin_fmaf(x, y, z); }

#define NUMCORE_ROUNDED(name, operation)                                  \
  inline float __f##name##_rn(float x, float y) { return x operation y; } \
  inline double __d##name##_rn(double x, double y) { return x operation y; }
NUMCORE_ROUNDED(add, +)
NUMCORE_ROUNDED(sub, -) NUMCORE_ROUNDED(mul, *) NUMCORE_ROUNDED(div, /)
#undef NUMCORE_ROUNDED
    inline float __frcp_rn(float x) {
  return 1 / x;
}
inline double __drcp_rn(double x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }

inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1 / __builtin_sqrt(double(x)); }
inline double rcbrt(double x) { return 1 / cbrt(x); }
inline float rcbrtf(float x) { return 1 / cbrtf(x); }
inline float rcbrt(float x) { return rcbrtf(x); }
inline double exp10(double x) { return pow(10.0, x); }
inline float exp10f(float x) { return pow(10.0, double(x)); }
inline float exp10(float x) { return exp10f(x); }
inline double normcdf(double x) { return erfc(-x * 0.70710678118654752440) / 2; }
inline float normcdff(float x) { return normcdf(double(x)); }
inline float normcdf(float x) { return normcdff(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) {
  return x > 0 ? x < 1 ? x : 1 : 0;
}  // NaN gives 0, as on the device

inline double sinpi(double x) {
  double r = remainder(x, 2.0);
  if (fabs(r) > 0.5) r = copysign(1 - fabs(r), r);
  return sin(3.14159265358979323846 * r);
}
inline double cospi(double x) { return sinpi(0.5 - fabs(remainder(x, 2.0))); }
inline float sinpif(float x) { return sinpi(double(x)); }
inline float sinpi(float x) { return sinpif(x); }
inline float cospif(float x) { return cospi(double(x)); }
inline float cospi(float x) { return cospif(x); }
inline void sincos(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }
inline void sincos(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline void sincosf(float x, float* s, float* c) { sincos(x, s, c); }
inline void __sincosf(float x, float* s, float* c) { sincos(x, s, c); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }

inline double ldexp(double x, int n) { return __builtin_ldexp(x, n); }
inline float ldexp(float x, int n) { return __builtin_ldexpf(x, n); }
inline float ldexpf(float x, int n) { return __builtin_ldexpf(x, n); }
inline double scalbn(double x, int n) { return __builtin_ldexp(x, n); }
inline float scalbn(float x, int n) { return __builtin_ldexpf(x, n); }
inline float scalbnf(float x, int n) { return __builtin_ldexpf(x, n); }
inline double frexp(double x, int* n) { return __builtin_frexp(x, n); }
inline float frexp(float x, int* n) { return __builtin_frexpf(x, n); }
inline float frexpf(float x, int* n) { return __builtin_frexpf(x, n); }
inline double modf(double x, double* whole) { return __builtin_modf(x, whole); }
inline float modf(float x, float* whole) { return __builtin_modff(x, whole); }
inline float modff(float x, float* whole) { return __builtin_modff(x, whole); }
inline int ilogb(double x) { return __builtin_ilogb(x); }
inline int ilogbf(float x) { return __builtin_ilogbf(x); }
inline long lrint(double x) { return __builtin_lrint(x); }
inline long lrintf(float x) { return __builtin_lrintf(x); }
inline long long llrint(double x) { return __builtin_llrint(x); }
inline long long llrintf(float x) { return __builtin_llrintf(x); }
inline long lround(double x) { return __builtin_lround(x); }
inline long lroundf(float x) { return __builtin_lroundf(x); }
inline long long llround(double x) { return __builtin_llround(x); }
inline long long llroundf(float x) { return __builtin_llroundf(x); }

inline int isnan(double x) { return __builtin_isnan(x); }
inline int isnan(float x) { return __builtin_isnan(x); }
inline int isinf(double x) { return __builtin_isinf(x); }
inline int isinf(float x) { return __builtin_isinf(x); }
inline int isfinite(double x) { return __builtin_isfinite(x); }
inline int isfinite(float x) { return __builtin_isfinite(x); }
inline int signbit(double x) { return __builtin_signbit(x) != 0; }
inline int signbit(float x) { return __builtin_signbit(x) != 0; }

// Conversions saturate on the device, and NaN gives 0 (for 64 bits: the most negative number).
namespace host {
template <typename I, typename F>
I saturate(F x) {
  constexpr I most = I(-1) < I(0) ? I(~(1ull << (8 * sizeof(I) - 1))) : I(-1),
              least = I(-1) < I(0) ? I(-most - 1) : I(0);
  if (x != x) return sizeof(I) == 8 ? I(1ull << 63) : I(0);
  if (x >= F(most)) return most;
  return x <= F(least) ? least : I(x);
}
}  // namespace host
#define NUMCORE_CONVERT(from, F, to, I)                                      \
  inline I __##from##2##to##_rn(F x) { return host::saturate<I>(rint(x)); }  \
  inline I __##from##2##to##_rz(F x) { return host::saturate<I>(trunc(x)); } \
  inline I __##from##2##to##_rd(F x) { return host::saturate<I>(floor(x)); } \
  inline I __##from##2##to##_ru(F x) { return host::saturate<I>(ceil(x)); }  \
  inline F __##to##2##from##_rn(I x) { return F(x); }
NUMCORE_CONVERT(float, float, int, int)
NUMCORE_CONVERT(float, float, uint, unsigned)
NUMCORE_CONVERT(float, float, ll, long long)
NUMCORE_CONVERT(float, float, ull, unsigned long long)
NUMCORE_CONVERT(double, double, int, int)
NUMCORE_CONVERT(double, double, uint, unsigned)
NUMCORE_CONVERT(double, double, ll, long long)
NUMCORE_CONVERT(double, double, ull, unsigned long long)
#undef NUMCORE_CONVERT
inline float __double2float_rn(double x) { return x; }

// NaN gives way to a number, and -0 < +0, as in the device's min and max instructions.
namespace host {
template <typename T>
T float_min(T a, T b) {
  return a < b || b != b ? a : b < a || a != a ? b : __builtin_signbit(a) ? a : b;
}
template <typename T>
T float_max(T a, T b) {
  return a > b || b != b ? a : b > a || a != a ? b : __builtin_signbit(a) ? b : a;
}
template <typename T, typename U>
using Common = decltype(true ? T() : U());
template <typename C, char kind = Kind<C>::value>
struct Order {
  static C least(C a, C b) { return b < a ? b : a; }
  static C most(C a, C b) { return a < b ? b : a; }
};
template <typename C>
struct Order<C, 'f'> {
  static C least(C a, C b) { return float_min(a, b); }
  static C most(C a, C b) { return float_max(a, b); }
};
}  // namespace host
inline double fmin(double a, double b) { return host::float_min(a, b); }
inline double fmax(double a, double b) { return host::float_max(a, b); }
inline float fmin(float a, float b) { return host::float_min(a, b); }
inline float fmax(float a, float b) { return host::float_max(a, b); }
inline float fminf(float a, float b) { return host::float_min(a, b); }
inline float fmaxf(float a, float b) { return host::float_max(a, b); }
template <typename T, typename U>
host::Common<T, U> min(T a, U b) {
  return host::Order<host::Common<T, U>>::least(a, b);
}
template <typename T, typename U>
host::Common<T, U> max(T a, U b) {
  return host::Order<host::Common<T, U>>::most(a, b);
}

inline double abs(double x) { return __builtin_fabs(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline int abs(int x) { return x < 0 ? -x : x; }
inline long abs(long x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline long labs(long x) { return x < 0 ? -x : x; }
inline long long llabs(long long x) { return x < 0 ? -x : x; }

}  // namespace
