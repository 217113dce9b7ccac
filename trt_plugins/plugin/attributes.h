// The attributes of an operator: what there is, and how a plugin's fields become checked values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hyperseg {

// A sentence that says what is wrong; nothing if all is well.
using Problem = std::optional<std::string>;

enum class FieldType { kInt32, kChar, kOther };

// What stands behind a field of a TensorRT plugin, whichever version of it.
struct Field {
    char const* name;
    FieldType type;
    void const* data;
    int32_t length;  // elements of data; of a text with or without its terminating NUL
};

// Either integers (count of them, each within [low, high]) or one of the texts in choices.
struct AttributeSpec {
    char const* name;
    int32_t count = 1;
    int32_t low = 0;
    int32_t high = 0;
    std::vector<char const*> choices = {};
    std::optional<int32_t> defaultValue = {};  // without one, the attribute is required

    FieldType type() const { return choices.empty() ? FieldType::kInt32 : FieldType::kChar; }
};

// The value of an attribute: its integers, or the index of its text in choices.
using AttributeValue = std::vector<int32_t>;

// Reads one value per specification, in their order. Fields that are unknown, missing, given twice, of another type or
// length, or out of range are a problem, and then the values are not to be used.
Problem parseAttributes(std::vector<AttributeSpec> const& specs, Field const* fields, int32_t count,
                        std::vector<AttributeValue>& values);

// The fields from which parseAttributes reads these values again. They point into specs and values.
std::vector<Field> fieldsFromAttributes(std::vector<AttributeSpec> const& specs,
                                        std::vector<AttributeValue> const& values);

// The values as bytes, for interfaces that store a plugin so, and back; the integers in the machine's order.
std::vector<int32_t> wordsFromAttributes(std::vector<AttributeValue> const& values);
Problem parseWords(std::vector<AttributeSpec> const& specs, void const* bytes, size_t size,
                   std::vector<AttributeValue>& values);

}  // namespace hyperseg
